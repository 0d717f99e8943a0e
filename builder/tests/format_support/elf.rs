//! Small ELF files made by hand: programs, libraries and kernel modules.

/// A program or library. Addresses are file offsets.
#[derive(Clone, Copy)]
pub struct Elf<'a> {
    pub machine: u16,
    pub big_endian: bool,
    pub dynamic: bool,
    pub interpreter: Option<&'a str>,
    pub libraries: &'a [&'a str],
    pub run_path: Option<&'a str>,
    pub r_path: Option<&'a str>,
    pub soname: Option<&'a str>,
}

impl Default for Elf<'_> {
    fn default() -> Self {
        Elf {
            machine: 183,
            big_endian: false,
            dynamic: true,
            interpreter: None,
            libraries: &[],
            run_path: None,
            r_path: None,
            soname: None,
        }
    }
}

const HEADER: u64 = 64;
const SEGMENT: u64 = 56;

impl Elf<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut add = |text: &str| {
            let at = strings.len() as u64;
            strings.extend(text.bytes().chain([0]));
            at
        };
        let mut entries: Vec<(u64, u64)> = self.libraries.iter().map(|name| (1, add(name))).collect();
        entries.extend(self.run_path.map(|path| (29, add(path))));
        entries.extend(self.r_path.map(|path| (15, add(path))));
        entries.extend(self.soname.map(|name| (14, add(name))));
        let strings_at = HEADER + 3 * SEGMENT;
        let interpreter_at = strings_at + strings.len() as u64;
        let interpreter: Vec<u8> = self.interpreter.map(|path| [path.as_bytes(), &[0]].concat()).unwrap_or_default();
        entries.extend([(5, strings_at), (10, strings.len() as u64), (0, 0)]);
        let dynamic_at = (interpreter_at + interpreter.len() as u64).next_multiple_of(8);
        let dynamic: Vec<u8> =
            entries.iter().flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat()).collect();
        let end = dynamic_at + dynamic.len() as u64;

        let mut bytes = header(3, self.machine, self.big_endian);
        bytes[32..40].copy_from_slice(&HEADER.to_le_bytes());
        bytes[54..56].copy_from_slice(&(SEGMENT as u16).to_le_bytes());
        bytes[56..58].copy_from_slice(&3u16.to_le_bytes());
        let none = |wanted: bool, kind: u32| if wanted { kind } else { 0 };
        for (kind, at, length) in [
            (1, 0, end),
            (none(self.interpreter.is_some(), 3), interpreter_at, interpreter.len() as u64),
            (none(self.dynamic, 2), dynamic_at, dynamic.len() as u64),
        ] {
            bytes.extend(u32::to_le_bytes(kind));
            bytes.extend(4u32.to_le_bytes());
            for value in [at, at, at, length, length, 8] {
                bytes.extend(u64::to_le_bytes(value));
            }
        }
        bytes.extend(strings);
        bytes.extend(interpreter);
        bytes.resize(dynamic_at as usize, 0);
        bytes.extend(dynamic);
        bytes
    }
}

fn header(kind: u16, machine: u16, big_endian: bool) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02".to_vec();
    bytes.push(if big_endian { 2 } else { 1 });
    bytes.push(1);
    bytes.resize(HEADER as usize, 0);
    bytes[16..18].copy_from_slice(&kind.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20..24].copy_from_slice(&1u32.to_le_bytes());
    bytes[52..54].copy_from_slice(&(HEADER as u16).to_le_bytes());
    bytes
}

/// A kernel module with these `.modinfo` fields.
pub fn module(fields: &[&str]) -> Vec<u8> {
    let info: Vec<u8> = fields.iter().flat_map(|field| field.bytes().chain([0])).collect();
    let names = b"\0.modinfo\0.shstrtab\0";
    let (info_at, names_at) = (HEADER, HEADER + info.len() as u64);
    let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
    let mut bytes = header(1, 183, false);
    bytes[40..48].copy_from_slice(&sections_at.to_le_bytes());
    bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
    bytes[60..62].copy_from_slice(&3u16.to_le_bytes());
    bytes[62..64].copy_from_slice(&2u16.to_le_bytes());
    bytes.extend(info.iter());
    bytes.extend(names);
    bytes.resize(sections_at as usize, 0);
    for (name, kind, at, length) in
        [(0, 0, 0, 0), (1, 1, info_at, info.len() as u64), (10, 3, names_at, names.len() as u64)]
    {
        bytes.extend(u32::to_le_bytes(name));
        bytes.extend(u32::to_le_bytes(kind));
        // Flags, address, offset, size, link and info in one, alignment, entry size.
        for value in [0, 0, at, length, 0, 1, 0] {
            bytes.extend(u64::to_le_bytes(value));
        }
    }
    bytes
}
