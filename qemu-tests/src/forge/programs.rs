//! The smallest arm64 kernel and the smallest arm64 program, written by hand, and one of another machine's: each does one
//! thing wrong.

/// `b .`: branches to itself.
const LOOP: u32 = 0x1400_0000;

/// A kernel that starts and never comes further (Linux, Documentation/arch/arm64/booting.rst, section 4).
#[must_use]
pub fn hanging_kernel() -> Vec<u8> {
    let mut image = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &LOOP.to_le_bytes());
    put(16, &4096_u64.to_le_bytes());
    // Little-endian, pages of 4 KiB, anywhere in memory.
    put(24, &0b1010_u64.to_le_bytes());
    put(56, b"ARM\x64");
    image
}

/// A program that ends at once, with this status: a static ELF file of one segment.
#[must_use]
pub fn ending_program(status: u16) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const CODE: u64 = 0x78;
    // mov x8, #93 (exit); mov x0, #status; svc #0
    let code = [0xd280_0ba8, 0xd280_0000 | u32::from(status) << 5, 0xd400_0001];
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // An executable, for AArch64, version 1.
    elf.extend([2, 0, 183, 0, 1, 0, 0, 0]);
    // Entry, program headers, no section headers.
    elf.extend([BASE + CODE, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // One segment to load, to be read and run: all of the file.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let length = CODE + 12;
    elf.extend([0, BASE, BASE, length, length, 0x1000].iter().flat_map(|word: &u64| word.to_le_bytes()));
    elf.extend(code.iter().flat_map(|word: &u32| word.to_le_bytes()));
    elf
}

/// Makes the beginning of an ELF file that of one for x86-64: `e_machine` is `EM_X86_64` (elf(5)).
pub fn for_another_machine(head: &mut [u8]) {
    assert_eq!(&head[..4], b"\x7fELF");
    head[18..20].copy_from_slice(&62_u16.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_ending_program_is_an_elf_file_that_ends_where_its_segment_does() {
        let elf = ending_program(3);
        assert_eq!(elf.len(), 0x78 + 12);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&elf).unwrap();
        let output = std::process::Command::new("readelf").arg("-hl").arg(file.path()).output();
        // Beside the numbers above, an independent reader's view, where there is one.
        if let Ok(output) = output {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("AArch64") && text.contains("LOAD") && text.contains("0x400078"), "{text}");
        }
    }
}
