//! A kernel that hangs, and one that panics: in the test image, where the probe can break it.

use emulator::{Network, Node, Reset};
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request, ask};
use qemu_tests::router::{Router, STEP, wait_up};
use std::io::Write as _;

fn start() -> Node {
    let machine = Router { number: 1 }.machine(images::router_with_probe(), &[]);
    let node = machine.network(&Network::new()).network(&Network::new()).port(PORT).start().unwrap();
    wait_up(&node, "r1").unwrap();
    node
}

fn write(path: &str, text: &str) -> Request {
    Request::Write { path: path.to_owned(), text: text.to_owned() }
}

/// Panics the kernel with `panic` as its time until reboot in seconds; 0: it stands still for ever.
fn crash(node: &Node, panic: &str) {
    let mut port = node.port(PORT).unwrap();
    port.set_read_timeout(Some(STEP)).unwrap();
    let out = port.try_clone().unwrap();
    let set = write("/proc/sys/kernel/panic", panic);
    assert_eq!(ask(&mut port, out, &set).unwrap(), Ok(Vec::new()));
    // No answer comes to this one.
    port.write_all(format!("{}\n", write("/proc/sysrq-trigger", "c")).as_bytes()).unwrap();
}

#[test]
fn a_kernel_that_panics_restarts_by_itself() {
    let node = start();
    crash(&node, "1");
    assert_eq!(node.wait_reset(1, STEP).unwrap(), Reset::Guest);
    wait_up(&node, "r1").unwrap();
}

#[test]
fn a_kernel_that_hangs_is_reset_by_the_watchdog() {
    let node = start();
    crash(&node, "0");
    assert_eq!(node.wait_reset(1, STEP).unwrap(), Reset::Watchdog);
    wait_up(&node, "r1").unwrap();
}
