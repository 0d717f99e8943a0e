//! A node that can be switched on, watched, spoken to, and have its power cut.

use crate::boot::{self, BootError, Outcome};
use crate::console::{End, Record, Reset, WaitError};
use crate::plan::{Plan, StartError};
use crate::qemu::{Console, Model};
use crate::qmp::Commands;
use crate::storage::Disk;
use crate::watchdog::Watchdog;
use contract::layout::Partition;
use contract::names::{CONSOLE_PREFIX, TRYBOOT_PORT};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A node. Dropping it cuts its power and waits for its process to be gone.
#[derive(Debug)]
pub struct Node {
    plan: Arc<Plan>,
    live: Arc<Mutex<Live>>,
    cut: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
    switched_on: Instant,
}

/// What is there only while QEMU runs.
#[derive(Debug, Default)]
struct Live {
    child: Option<Child>,
    commands: Option<Commands>,
    keyboard: Option<ChildStdin>,
    ports: BTreeMap<String, UnixStream>,
    /// A bit of the disk that the next reset flips.
    damage: Option<(Partition, u64, u8)>,
}

fn locked(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(crate) fn new(plan: Plan) -> Node {
        Node {
            plan: Arc::new(plan),
            live: Arc::default(),
            cut: Arc::default(),
            keeper: None,
            switched_on: Instant::now(),
        }
    }

    /// Switches the node on, for the first time or again after it went off.
    ///
    /// # Errors
    /// When it is on, or when no thread can be started.
    pub fn power_on(&mut self) -> Result<(), StartError> {
        if self.is_on() {
            return Err(StartError::Impossible("the node is on already".to_owned()));
        }
        self.join();
        self.cut.store(false, Ordering::SeqCst);
        self.switched_on = Instant::now();
        self.plan.record.switch_on();
        let (plan, live, cut) = (Arc::clone(&self.plan), Arc::clone(&self.live), Arc::clone(&self.cut));
        let keep = move || {
            let end = keep(&plan, &live, &cut);
            plan.record.end(end);
        };
        let thread = std::thread::Builder::new().name("node".to_owned()).spawn(keep);
        self.keeper =
            Some(thread.map_err(|source| StartError::Io { doing: "starting a thread".to_owned(), source })?);
        Ok(())
    }

    /// Whether it has been switched on and runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| !keeper.is_finished()) && self.plan.record.ended().is_none()
    }

    /// Time since it was switched on.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.switched_on.elapsed()
    }

    /// Waits until `text` is on the console, from behind the last match on; gives the whole line.
    ///
    /// # Errors
    /// When it does not come, or the node ends before; the message holds the last lines and the log's path.
    pub fn expect(&self, text: &str, patience: Duration) -> Result<String, WaitError> {
        self.expect_any(&[text], patience).map(|(_, line)| line)
    }

    /// Waits for whichever of `texts` comes first; gives its index and the whole line.
    ///
    /// # Errors
    /// As [`Node::expect`].
    pub fn expect_any(&self, texts: &[&str], patience: Duration) -> Result<(usize, String), WaitError> {
        self.plan.record.expect_any(texts, patience)
    }

    /// Everything on the console so far, over all boots, in lines without carriage returns.
    #[must_use]
    pub fn console(&self) -> String {
        self.plan.record.text()
    }

    /// Types on the console.
    ///
    /// # Errors
    /// When the node is off.
    pub fn send_keys(&self, keys: &str) -> io::Result<()> {
        let mut live = locked(&self.live);
        let keyboard = live.keyboard.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        keyboard.write_all(keys.as_bytes())?;
        keyboard.flush()
    }

    /// Asks firstboot for one of its console pages by its key; gives what stands between the page's first and last line.
    ///
    /// # Errors
    /// When it does not come within `patience`.
    pub fn page(&self, key: &str, patience: Duration) -> Result<String, WaitError> {
        // A node that is off is noticed by the wait.
        let _ = self.send_keys(key);
        self.expect(&format!("{CONSOLE_PREFIX}page"), patience)?;
        self.plan.record.expect_until(&format!("{CONSOLE_PREFIX}end of page"), patience)
    }

    /// How often the EEPROM has decided.
    #[must_use]
    pub fn boots(&self) -> u32 {
        self.plan.record.boots()
    }

    /// The resets so far.
    #[must_use]
    pub fn resets(&self) -> Vec<Reset> {
        self.plan.record.resets()
    }

    #[must_use]
    pub fn last_reset_reason(&self) -> Option<Reset> {
        self.resets().last().copied()
    }

    /// Waits for the `count`th reset of all.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait_reset(&self, count: usize, patience: Duration) -> Result<Reset, WaitError> {
        self.plan.record.wait_resets(count, patience)
    }

    /// Waits until the node is off; says why.
    ///
    /// # Errors
    /// When it stays on.
    pub fn wait_off(&self, patience: Duration) -> Result<End, WaitError> {
        self.plan.record.wait_end(patience)
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// When the node is off.
    pub fn power_off(&self) -> io::Result<()> {
        self.control("system_powerdown", json!({}))
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// When the node is off.
    pub fn reset(&self) -> io::Result<()> {
        self.control("system_reset", json!({}))
    }

    /// Sets the one-shot flag: the next reset is a trial boot, as if the guest had asked for it.
    pub fn ask_tryboot(&self) {
        self.plan.record.ask_tryboot(true);
    }

    /// Flips a bit of the disk at the next reset: when the system that runs now has ended, before the EEPROM decides.
    pub fn flip_bit_at_reset(&self, partition: Partition, at: u64, bit: u8) {
        locked(&self.live).damage = Some((partition, at, bit));
    }

    /// Pulls out (`false`) or plugs in the cable of a network card, counted from 0; the guest sees its carrier change.
    ///
    /// # Errors
    /// When the node is off.
    pub fn set_link(&self, card: usize, up: bool) -> io::Result<()> {
        self.control("set_link", json!({"name": format!("nic{card}"), "up": up}))
    }

    fn control(&self, command: &str, arguments: serde_json::Value) -> io::Result<()> {
        let commands = locked(&self.live).commands.clone();
        commands.ok_or(io::Error::from(io::ErrorKind::NotConnected))?.send(command, arguments)
    }

    /// The test's end of a serial port that [`crate::Machine::port`] added. Each boot has a new one.
    ///
    /// # Errors
    /// When there is no such port or the node is off.
    pub fn port(&self, name: &str) -> io::Result<UnixStream> {
        locked(&self.live).ports.get(name).ok_or(io::ErrorKind::NotConnected)?.try_clone()
    }

    /// Cuts the power: QEMU gets SIGKILL. The disk stays as it is at that instant.
    pub fn kill(&mut self) {
        self.cut.store(true, Ordering::SeqCst);
        if let Some(child) = locked(&self.live).child.as_mut() {
            // It may be gone already.
            let _ = child.kill();
        }
        self.join();
    }

    /// The private disk, for looking at and, while the node is off, for changing.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.plan.disk
    }

    /// An NVMe disk beside it, counted from 0 in the order of [`crate::Machine::nvme`].
    #[must_use]
    pub fn nvme(&self, index: usize) -> &Disk {
        &self.plan.nvmes[index].disk
    }

    /// Where the writes of the disk that it boots from are recorded, when [`crate::Machine::recorded`] asked for it. Its
    /// boots follow each other.
    #[must_use]
    pub fn write_log(&self) -> Option<&Path> {
        self.plan.log.as_deref()
    }

    /// Where the writes of an NVMe disk are recorded, when [`crate::Nvme::recorded`] asked for it. Its boots
    /// follow each other.
    #[must_use]
    pub fn nvme_write_log(&self, index: usize) -> Option<&Path> {
        self.plan.nvmes[index].log.as_deref()
    }

    /// Pulls out an NVMe disk that is [`crate::Nvme::removable`]. The guest is asked first, as by the button beside the
    /// slot, and has some seconds.
    ///
    /// # Errors
    /// When the node is off.
    pub fn unplug(&self, index: usize) -> io::Result<()> {
        self.control("device_del", json!({"id": format!("disk{index}")}))
    }

    /// Where the console's log is.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        self.plan.record.path()
    }

    /// What QEMU logged, when [`crate::Machine::qemu_log`] asked for it.
    #[must_use]
    pub fn qemu_log(&self) -> String {
        let bytes = self.plan.qemu_log.as_ref().and_then(|path| std::fs::read(path).ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Gives the terminal to the node: its console in, its console out, until it is switched off. Ctrl-A X leaves,
    /// Ctrl-A H shows the other keys.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn interactive(self) -> Result<End, StartError> {
        loop {
            let mut running = match boot::start(&self.plan, &Console::Terminal) {
                Ok(running) => running,
                Err(BootError::NoTrial(_)) => continue,
                Err(error) => return Err(StartError::Impossible(error.to_string())),
            };
            let _tryboot = running.ports.remove(TRYBOOT_PORT).map(|port| listen_for_tryboot(port, &self.plan.record));
            let outcome = boot::follow(&mut running.events, || false);
            let io = |source| StartError::Io { doing: "waiting for QEMU".to_owned(), source };
            let status = boot::reap(&mut running.child).map_err(io)?;
            match outcome {
                Outcome::Reset(reset) => {
                    listen_to_the_mailbox(&self.plan);
                    self.plan.record.reset(reset);
                }
                Outcome::PoweredOff => return Ok(End::PoweredOff),
                Outcome::Gone if status.success() => return Ok(End::PowerCut),
                Outcome::Gone => return Ok(End::Failed(format!("QEMU ended with {status}"))),
            }
        }
    }

    fn join(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            // A panic there has been printed; the record shows how far it came.
            let _ = keeper.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("console of the node, whole in {}:\n{}", self.log_path().display(), self.plan.record.tail(40));
        }
    }
}

/// Keeps a node running over its resets. Every QEMU is a child of this thread, and goes with it.
fn keep(plan: &Plan, live: &Mutex<Live>, cut: &AtomicBool) -> End {
    let deadline = Instant::now() + plan.deadline;
    loop {
        if cut.load(Ordering::SeqCst) {
            return End::PowerCut;
        }
        let mut running = match boot::start(plan, &Console::Pipe) {
            Ok(running) => running,
            Err(BootError::NoBoot(why)) => return End::NoBoot(why.to_string()),
            Err(BootError::NoTrial(why)) => {
                plan.record.say(&format!("the firmware hangs, and the EEPROM's watchdog resets it: {why}"));
                plan.record.reset(Reset::Firmware);
                continue;
            }
            Err(BootError::Host(why)) => return End::Failed(why),
        };
        let pid = running.child.id();
        let mut threads = Vec::new();
        if let Some(output) = running.child.stdout.take() {
            threads.push(copy_output(output, &plan.record, false));
        }
        if let Some(output) = running.child.stderr.take() {
            threads.push(copy_output(output, &plan.record, true));
        }
        if let Some(port) = running.ports.remove(TRYBOOT_PORT) {
            threads.push(listen_for_tryboot(port, &plan.record));
        }
        {
            let mut live = locked(live);
            live.keyboard = running.child.stdin.take();
            live.commands = Some(running.commands.clone());
            live.ports = std::mem::take(&mut running.ports);
            live.child = Some(running.child);
        }
        let late = || Instant::now() >= deadline;
        let watchdog = Watchdog::start(&plan.record, running.watchdog, plan.hardware.cores(), pid);
        let mut outcome =
            boot::follow(&mut running.events, || late() || cut.load(Ordering::SeqCst) || watchdog.bites());
        if watchdog.has_bitten() && outcome == Outcome::Gone {
            outcome = Outcome::Reset(Reset::Firmware);
        }
        let stopped = cut.load(Ordering::SeqCst)
            || outcome == Outcome::Reset(Reset::Firmware)
            || (late() && outcome == Outcome::Gone);
        let taken = std::mem::take(&mut *locked(live));
        let Some(mut child) = taken.child else { return End::Failed("QEMU's process was lost".to_owned()) };
        if let Some(seconds) = cpu_seconds(pid) {
            plan.record.say(&format!("this boot took {seconds:.1} s of CPU"));
        }
        if stopped {
            let _ = child.kill();
        }
        let status = boot::reap(&mut child);
        drop((taken.keyboard, taken.commands, taken.ports));
        for thread in threads {
            let _ = thread.join();
        }
        match outcome {
            _ if cut.load(Ordering::SeqCst) => return End::PowerCut,
            _ if late() => return End::Deadline(plan.deadline),
            Outcome::Reset(reset) => {
                if let Some((partition, at, bit)) = taken.damage
                    && let Err(error) = plan.disk.flip_bit(partition, at, bit)
                {
                    return End::Failed(format!("flipping a bit at the reset: {error}"));
                }
                listen_to_the_mailbox(plan);
                plan.record.reset(reset);
            }
            Outcome::PoweredOff => return End::PoweredOff,
            Outcome::Gone => {
                return End::Failed(match status {
                    Ok(status) => format!("QEMU ended with {status}"),
                    Err(error) => format!("waiting for QEMU: {error}"),
                });
            }
        }
    }
}

/// The CPU time that a process has used so far, all threads together, in seconds (proc(5), `/proc/pid/stat`: fields 14
/// and 15, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, is in parentheses and may contain spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(f64::from(ticks()? + ticks()?) / 100.0)
}

fn copy_output(mut output: impl Read + Send + 'static, record: &Arc<Record>, qemus_own: bool) -> JoinHandle<()> {
    let record = Arc::clone(record);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            if qemus_own {
                record.say(&format!("QEMU: {}", String::from_utf8_lossy(&buffer[..length]).trim_end()));
            } else {
                record.push(&buffer[..length]);
            }
        }
    })
}

/// The raspi4b's way to set the one-shot flag: QEMU has no model of the firmware's property for it, and logs the tag. Its
/// value, 0 or 1, it does not log; nothing of ours ever sends a 0.
fn listen_to_the_mailbox(plan: &Plan) {
    if plan.hardware.model != Model::Raspi4b {
        return;
    }
    // QEMU begins a new log at each start.
    let log = plan.qemu_log.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    if String::from_utf8_lossy(&log).contains(TRYBOOT_TAG) {
        plan.record.ask_tryboot(true);
        plan.record.say(&format!("the firmware's mailbox was asked for a trial boot: {TRYBOOT_TAG}"));
    }
}

/// What QEMU logs (hw/misc/bcm2835_property.c) of the message that sets the flag (raspberrypi/firmware wiki, "Mailbox
/// property interface": SET_REBOOT_FLAGS).
const TRYBOOT_TAG: &str = "unhandled tag 0x00038064";

/// The guest's way to set the one-shot flag: a line `tryboot 1` or `tryboot 0`, answered by `ok`.
fn listen_for_tryboot(port: UnixStream, record: &Arc<Record>) -> JoinHandle<()> {
    let record = Arc::clone(record);
    std::thread::spawn(move || {
        let mut answers = port.try_clone();
        // A guest that sends no line end gets no further than this.
        let mut reader = BufReader::new(port).take(1 << 20);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line) {
            let answer = match line.as_slice() {
                b"tryboot 1\n" => {
                    record.ask_tryboot(true);
                    record.say("the next reset is a trial boot");
                    "ok\n"
                }
                b"tryboot 0\n" => {
                    record.ask_tryboot(false);
                    "ok\n"
                }
                _ => "unknown request; `tryboot 1` and `tryboot 0` are known\n",
            };
            line.clear();
            if let Ok(answers) = &mut answers {
                let _ = answers.write_all(answer.as_bytes());
            }
        }
    })
}

#[cfg(test)]
mod tests;
