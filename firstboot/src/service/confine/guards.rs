//! Guards of a cgroup whose processes are root and make containers: programs for the kernel's own virtual machine
//! (Documentation/bpf/standardization/instruction-set.rst) that say which devices may be opened and which settings of the
//! kernel may be changed. They hold whatever is mounted, and for pods too.

/// A kind of device node, as in `struct bpf_cgroup_dev_ctx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Block = 1,
    Character = 2,
}

/// Device nodes that may be opened and made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub kind: Kind,
    pub major: u32,
    /// The first and the last one.
    pub minors: (u32, u32),
}

const fn all(major: u32) -> Rule {
    Rule { kind: Kind::Character, major, minors: (0, u32::MAX) }
}

const fn one(major: u32, minor: u32) -> Rule {
    Rule { kind: Kind::Character, major, minors: (minor, minor) }
}

/// What containers, and the programs that make them, open (Documentation/admin-guide/devices.txt): nothing that leads to
/// the node's disks, to its memory, its firmware or its watchdog.
pub const USUAL: [Rule; 24] = [
    // null, zero, full, random, urandom, kmsg (kubelet reads there which processes ran out of memory), tty, ptmx
    one(1, 3),
    one(1, 5),
    one(1, 7),
    one(1, 8),
    one(1, 9),
    one(1, 11),
    one(5, 0),
    one(5, 2),
    // Terminals of containers.
    all(136),
    all(137),
    // tun, fuse, kvm, loop-control, vhost-net
    one(10, 200),
    one(10, 229),
    one(10, 232),
    one(10, 237),
    one(10, 238),
    // Loop devices: of files that it can open.
    Rule { kind: Kind::Block, major: 7, minors: (0, u32::MAX) },
    // What pods are often given: input, video, I2C, sound, SPI, USB serial lines, modems, graphics.
    all(13),
    all(81),
    all(89),
    all(116),
    all(153),
    all(166),
    all(188),
    all(226),
];

/// A setting whose name begins like this may be changed, or may not. The first that fits decides; all others may.
const SETTINGS: [(&str, bool); 17] = [
    // Those of a pod's own namespaces, and what kubelet sets.
    ("kernel/shm", true),
    ("kernel/msg", true),
    ("kernel/sem", true),
    ("kernel/hostname", true),
    ("kernel/domainname", true),
    ("kernel/panic", true),
    ("kernel/keys/", true),
    // Programs that the kernel runs, what it shows, and what it refuses.
    ("kernel/", false),
    ("fs/suid_dumpable", false),
    ("fs/protected_", false),
    ("fs/binfmt_misc", false),
    ("vm/mmap_min_addr", false),
    ("vm/unprivileged_userfaultfd", false),
    ("net/core/bpf_jit", false),
    ("dev/", false),
    ("debug/", false),
    ("abi/", false),
];

/// Longest name that is looked at, with the byte behind it; a longer one begins like this.
const NAME: i16 = 64;
/// `BPF_FUNC_sysctl_get_name`
const GET_NAME: i32 = 101;

// Registers: the result and the last one, which is the end of the stack.
const R0: u8 = 0;
const R1: u8 = 1;
const STACK: u8 = 10;

/// One instruction: `struct bpf_insn`.
const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    code as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset.cast_unsigned() as u64) << 16
        | (value.cast_unsigned() as u64) << 32
}

/// `to = value`
const fn set(to: u8, value: i32) -> u64 {
    instruction(0xb7, to, 0, 0, value)
}

/// `to = from`
const fn copy(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

/// `to = *(u32 *)(from + offset)`
const fn word(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

/// `to = *(u8 *)(from + offset)`
const fn byte(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x71, to, from, offset, 0)
}

/// Over `over` instructions unless the lower half of `register` is `value`.
const fn unless_equal(register: u8, value: u32, over: i16) -> u64 {
    instruction(0x56, register, 0, over, value.cast_signed())
}

const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

fn answer(program: &mut Vec<u64>, allowed: bool) {
    program.extend([set(R0, allowed.into()), EXIT]);
}

/// Allows the devices of the rules and no others (`BPF_PROG_TYPE_CGROUP_DEVICE`: 1 allows, 0 refuses).
#[must_use]
pub fn devices(rules: &[Rule]) -> Vec<u64> {
    const KIND: u8 = 2;
    const MAJOR: u8 = 3;
    const MINOR: u8 = 4;
    // struct bpf_cgroup_dev_ctx: what is wanted in the upper half of the first word and the kind in its lower one; major; minor.
    let lower_half = instruction(0x54, KIND, 0, 0, 0xffff);
    let mut program = vec![word(KIND, R1, 0), lower_half, word(MAJOR, R1, 4), word(MINOR, R1, 8)];
    for Rule { kind, major, minors: (first, last) } in rules {
        // Over what is left of this rule, when less (0xa6) or more (0x26).
        let below = instruction(0xa6, MINOR, 0, 3, first.cast_signed());
        let above = instruction(0x26, MINOR, 0, 2, last.cast_signed());
        program.extend([unless_equal(KIND, *kind as u32, 5), unless_equal(MAJOR, *major, 4), below, above]);
        answer(&mut program, true);
    }
    answer(&mut program, false);
    program
}

/// Refuses to change settings of the kernel that are nobody's but PID 1's (`BPF_PROG_TYPE_CGROUP_SYSCTL`: 1 allows, 0
/// refuses).
#[must_use]
pub fn settings() -> Vec<u64> {
    const CONTEXT: u8 = 6;
    let mut program = vec![copy(CONTEXT, R1)];
    // struct bpf_sysctl: whether it is written.
    program.extend([word(R1, CONTEXT, 0), instruction(0x56, R1, 0, 2, 0)]);
    answer(&mut program, true);
    // The name, behind which all is zero.
    for offset in (-NAME..0).step_by(8) {
        program.push(instruction(0x7a, STACK, 0, offset, 0));
    }
    program.extend([copy(R1, CONTEXT), copy(2, STACK), instruction(0x07, 2, 0, 0, (-NAME).into())]);
    program.extend([set(3, NAME.into()), set(4, 0), instruction(0x85, 0, 0, 0, GET_NAME)]);
    for (start, allowed) in SETTINGS {
        let length = start.len() as i16;
        for (place, wanted) in (0_i16..).zip(start.bytes()) {
            // Over the other letters and the answer.
            program.push(byte(R1, STACK, place - NAME));
            program.push(unless_equal(R1, wanted.into(), (length - place - 1) * 2 + 2));
        }
        answer(&mut program, allowed);
    }
    answer(&mut program, true);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel's machine would (Documentation/bpf/standardization/instruction-set.rst), with as many of its
    /// instructions as the guards use: `context` are the words of the hook's structure, `name` what the helper writes.
    fn answer_of(program: &[u64], context: &[u32], name: &str) -> u64 {
        let (mut registers, mut stack, mut at) = ([0_u64; 11], [0xaa_u8; 512], 0_usize);
        registers[10] = 512;
        for _ in 0..10_000 {
            let instruction = program[at];
            let code = instruction as u8;
            let (to, from) = ((instruction >> 8 & 0xf) as usize, (instruction >> 12 & 0xf) as usize);
            let offset = (instruction >> 16) as u16 as i16;
            let value = (instruction >> 32) as u32;
            let wide = i64::from(value.cast_signed()).cast_unsigned();
            let place = |register: usize| (registers[register] as usize).wrapping_add_signed(offset.into());
            let lower = registers[to] as u32;
            let jump = match code {
                0x56 => lower != value,
                0xa6 => lower < value,
                0x26 => lower > value,
                _ => false,
            };
            match code {
                0xb7 => registers[to] = wide,
                0xbf => registers[to] = registers[from],
                0x54 => registers[to] = (lower & value).into(),
                0x07 => registers[to] = registers[to].wrapping_add(wide),
                0x61 => registers[to] = context[offset as usize / 4].into(),
                0x71 => registers[to] = stack[place(from)].into(),
                0x7a => {
                    let start = place(to);
                    stack[start..start + 8].copy_from_slice(&wide.to_le_bytes());
                }
                0x85 => {
                    assert_eq!((value, registers[4]), (101, 0), "bpf_sysctl_get_name, the whole name");
                    let (start, room) = (registers[2] as usize, registers[3] as usize);
                    let length = name.len().min(room - 1);
                    stack[start..start + length].copy_from_slice(&name.as_bytes()[..length]);
                    stack[start + length] = 0;
                }
                0x95 => return registers[0],
                0x56 | 0xa6 | 0x26 => {}
                other => panic!("no instruction {other:#x}"),
            }
            at = if jump { (at + 1).wrapping_add_signed(offset.into()) } else { at + 1 };
        }
        panic!("it does not end")
    }

    fn opens(kind: Kind, major: u32, minor: u32) -> bool {
        let named = Rule { kind: Kind::Block, major: 253, minors: (4, 9) };
        let program = devices(&[USUAL.as_slice(), &[named]].concat());
        // Reading and writing, in the upper half.
        answer_of(&program, &[6 << 16 | kind as u32, major, minor], "") == 1
    }

    #[test]
    fn devices_of_containers_are_opened_and_those_of_the_node_are_not() {
        for (major, minor) in [(1, 3), (1, 9), (1, 11), (5, 2), (10, 200), (10, 229), (136, 0), (137, 200), (188, 1)]
        {
            assert!(opens(Kind::Character, major, minor), "character device {major}:{minor}");
        }
        // Memory, ports, the console, watchdog, device mapper, SCSI, and the disks' own characters.
        for (major, minor) in [(1, 1), (1, 2), (1, 4), (5, 1), (10, 130), (10, 236), (21, 0), (241, 0), (0, 0)] {
            assert!(!opens(Kind::Character, major, minor), "character device {major}:{minor}");
        }
        assert!(opens(Kind::Block, 7, 3) && opens(Kind::Block, 253, 4) && opens(Kind::Block, 253, 9));
        for (major, minor) in [(259, 0), (259, 2), (179, 0), (8, 0), (253, 0), (253, 3), (253, 10), (1, 3)] {
            assert!(!opens(Kind::Block, major, minor), "block device {major}:{minor}");
        }
    }

    #[test]
    fn settings_of_pods_are_written_and_those_of_the_kernel_are_read_alone() {
        let program = settings();
        let may = |write: u32, name: &str| answer_of(&program, &[write, 0], name) == 1;
        let long = "net/ipv4/conf/a-very-long-name-of-an-interface-that-goes-on-and-on/rp_filter";
        for name in [
            "net/ipv4/ip_forward",
            "vm/overcommit_memory",
            "kernel/panic",
            "kernel/panic_on_oops",
            "kernel/keys/root_maxkeys",
            "kernel/shmmax",
            "kernel/sem",
            "fs/inotify/max_user_instances",
            "fs/file-max",
            long,
        ] {
            assert!(may(1, name), "{name}");
        }
        for name in [
            "kernel/core_pattern",
            "kernel/modprobe",
            "kernel/poweroff_cmd",
            "kernel/kptr_restrict",
            "kernel/yama/ptrace_scope",
            "kernel/s",
            "kernel/",
            "fs/suid_dumpable",
            "fs/protected_symlinks",
            "vm/mmap_min_addr",
            "net/core/bpf_jit_harden",
            "dev/tty/ldisc_autoload",
        ] {
            assert!(!may(1, name) && may(0, name), "{name}");
        }
    }
}
