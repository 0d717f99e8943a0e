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
