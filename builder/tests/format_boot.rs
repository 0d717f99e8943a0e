//! FAT volumes, partition table, initramfs archive and packed kernel, as other tools read them.

use crate::format_support::*;
use contract::initramfs::InitramfsSpec;
use contract::layout::{BOOT_SIZE, BOOTSEL_SIZE, DEFAULT_ROOT_SIZE, Partition};
use contract::role::{Compatible, ProfileName, Role};
use microdc::boot::initramfs::{self, Inputs};
use microdc::boot::modules::Module;
use microdc::format::fat::{self, BOOT, BOOTSEL, FatError, FatFile, FatType};
use microdc::format::fat_read::Reader;
use microdc::format::gpt::{self, Ids};
use microdc::format::{cpio, gzip};
use microdc::image::seed;
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::LazyLock;

const ROUTER: Role = Role::literal("router");

fn some_files() -> Vec<FatFile> {
    let file = |path: &str, bytes: Vec<u8>| FatFile { path: path.to_owned(), bytes: bytes.into() };
    vec![
        file("kernel8.img", noise(1_000_003, 1)),
        file("bcm2711-rpi-cm4-io.dtb", noise(50_000, 2)),
        file("a long name, with commas and dots.dtbo", noise(1, 3)),
        file("EMPTY.TXT", Vec::new()),
        file("cmdline.txt", b"one line\n".to_vec()),
    ]
}

#[test]
fn fat_volumes_are_of_their_type_clean_and_readable() {
    let folder = tempfile::tempdir().unwrap();
    for (volume, size, wanted) in [(BOOT, BOOT_SIZE, FatType::Fat32), (BOOTSEL, BOOTSEL_SIZE, FatType::Fat16)] {
        let files = some_files();
        let image = fat::make(volume, &files).unwrap();
        assert!(image.bytes.len() as u64 <= size && image.bytes.len() < 8 << 20, "{}", image.bytes.len());
        assert!(image.bytes[image.bytes.len() - 4096..].iter().any(|&byte| byte != 0), "zeros are left out");
        let path = folder.path().join(format!("{wanted}"));
        std::fs::write(&path, &image.bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
        let path = path.to_str().unwrap();
        let said = tool_ok("fsck.fat", &["-nv", path]);
        assert!(said.contains(&format!("{} bytes per cluster", volume.cluster)), "{said}");
        let bits = if wanted == FatType::Fat32 { "32 bit entries" } else { "16 bit entries" };
        assert!(said.contains(bits) || said.contains(&bits.replace(" bit", "-bit")), "{said}");
        for file in &files {
            let out = tool("mtype", &["-i", path, &format!("::{}", file.path)]);
            assert!(out.status.success() && out.stdout[..] == file.bytes[..], "{}", file.path);
        }
        let listed = tool_ok("mdir", &["-b", "-/", "-i", path, "::"]);
        assert_eq!(listed.lines().filter(|line| !line.ends_with('/')).count(), files.len(), "{listed}");

        let whole = std::fs::read(path).unwrap();
        let reader = Reader::open(&whole[..]).unwrap();
        assert_eq!(reader.fat_type(), wanted);
        let list = reader.list().unwrap();
        assert_eq!(list.len(), files.len());
        for file in &files {
            assert_eq!(list[&file.path], file.bytes.len() as u64);
            assert!(reader.read(&file.path).unwrap().unwrap()[..] == file.bytes[..], "{}", file.path);
        }
        assert!(reader.read("nothing.txt").unwrap().is_none());
        assert!(fat::make(volume, &files).unwrap().bytes == image.bytes, "made twice alike");
    }
}

#[test]
fn every_file_of_a_boot_partition_begins_on_a_block() {
    // Enough names to make the folder grow, and lengths that leave every remainder.
    let lengths = [5_000, 1, 0, 1024, 4096, 4097, 100_001, 1023, 8192, 2048, 3073];
    let file = |(seed, &length): (usize, &usize)| FatFile {
        path: format!("a rather long name, to fill the folder {seed}.bin"),
        bytes: noise(length, seed as u64 + 1).into(),
    };
    let files: Vec<FatFile> = lengths.iter().enumerate().map(file).collect();
    let image = fat::make(BOOT, &files).unwrap().bytes;
    for file in files.iter().filter(|file| file.bytes.len() > 16) {
        let at = image.windows(16).position(|window| window == &file.bytes[..16]).unwrap();
        assert!(at.is_multiple_of(4096), "{} begins at {at}", file.path);
    }
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), &image).unwrap();
    path.as_file().set_len(BOOT_SIZE).unwrap();
    tool_ok("fsck.fat", &["-nv", path.path().to_str().unwrap()]);
}

#[test]
fn a_fat_volume_of_another_type_than_asked_for_is_refused() {
    let small = fat::Volume { size: 16 << 20, ..BOOT };
    let error = fat::make(small, &[]).unwrap_err();
    assert!(matches!(error, FatError::Type { wanted: FatType::Fat32, found: FatType::Fat16 }), "{error}");
}

#[test]
fn a_folder_in_a_fat_volume_is_refused() {
    let file = FatFile { path: "overlays/x.dtbo".to_owned(), bytes: vec![1].into() };
    assert!(fat::make(BOOT, &[file]).unwrap_err().to_string().contains("overlays/x.dtbo"));
}

#[test]
fn files_that_do_not_fit_are_refused_with_both_figures() {
    let file = FatFile { path: "large".to_owned(), bytes: vec![1; 17 << 20].into() };
    let error = fat::make(BOOTSEL, &[file]).unwrap_err();
    assert!(matches!(error, FatError::Full { needed, room } if needed > room), "{error}");
}

static FOREIGN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let whole = |volume: fat::Volume| fat::make(volume, &some_files()[2..]).unwrap().bytes;
    vec![whole(BOOT), whole(BOOTSEL)]
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_makes_the_fat_reader_panic(
        which in 0usize..2,
        changes in prop::collection::vec((0usize..200_000, any::<u8>()), 0..40),
        head in prop::collection::vec((0usize..64, any::<u8>()), 0..6),
    ) {
        let mut bytes = FOREIGN[which].clone();
        for (at, value) in changes.into_iter().chain(head) {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(reader) = Reader::open(&bytes[..]) {
            let _ = reader.list();
            let _ = reader.read("cmdline.txt");
        }
    }

    #[test]
    fn no_damage_makes_the_partition_table_reader_panic(
        changes in prop::collection::vec((0usize..33 * 512 + 34 * 512, any::<u8>()), 1..40),
    ) {
        let mut ends = gpt::table(layout(), &Ids::derive(&seed(&ROUTER))).unwrap();
        for (at, value) in changes {
            let head = ends.head.len();
            if at < head { ends.head[at] = value } else { ends.tail[at - head] = value }
        }
        let _ = gpt::read(&ends, layout().image_size());
    }
}

#[test]
fn the_partition_table_is_right_and_follows_from_the_seed() {
    let ids = Ids::derive(&seed(&ROUTER));
    let ends = gpt::table(layout(), &ids).unwrap();
    assert_eq!(ends, gpt::table(layout(), &ids).unwrap());
    assert_eq!(gpt::read(&ends, layout().image_size()).unwrap(), (layout(), ids));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let file = File::create(&path).unwrap();
    file.set_len(layout().image_size()).unwrap();
    file.write_all_at(&ends.head, 0).unwrap();
    file.write_all_at(&ends.tail, layout().image_size() - gpt::TAIL).unwrap();
    let path = path.to_str().unwrap();
    let said = tool_ok("sgdisk", &["-v", path]);
    assert!(said.contains("No problems found"), "{said}");
    for (partition, id) in Partition::IN_IMAGE.into_iter().zip(ids.partitions) {
        let said = tool_ok("sgdisk", &["-i", &partition.number().to_string(), path]);
        let first = layout().extent(partition).unwrap().offset / 512;
        let wanted = [
            format!("Partition GUID code: {}", partition.type_guid()),
            format!("Partition unique GUID: {}", id.to_string().to_uppercase()),
            format!("First sector: {first} "),
            format!("Partition name: '{}'", partition.name()),
        ];
        for wanted in wanted {
            assert!(said.contains(&wanted), "{wanted}: {said}");
        }
    }
}

#[test]
fn either_copy_of_the_table_is_enough_to_know_the_other() {
    let ids = Ids::derive(&seed(&ROUTER));
    let ends = gpt::table(layout(), &ids).unwrap();
    let mut headless = ends.clone();
    headless.head.fill(0);
    let mut tailless = ends.clone();
    tailless.tail.fill(0);
    for ends in [headless, tailless] {
        assert_eq!(gpt::read(&ends, layout().image_size()).unwrap(), (layout(), ids));
    }
    assert!(gpt::read(&ends, layout().image_size() + 512).is_err());
}

/// Path, mode, device, data.
type CpioEntry = (String, u32, (u32, u32), Vec<u8>);

/// The entries of a "newc" archive.
fn unpack(mut bytes: &[u8]) -> Vec<CpioEntry> {
    let mut entries = Vec::new();
    loop {
        assert_eq!(&bytes[..6], b"070701");
        let field = |index: usize| {
            let text = std::str::from_utf8(&bytes[6 + 8 * index..14 + 8 * index]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let (size, name_length) = (field(6) as usize, field(11) as usize);
        let name = String::from_utf8(bytes[110..110 + name_length - 1].to_vec()).unwrap();
        let data = (110 + name_length).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return entries;
        }
        entries.push((name, field(1), (field(9), field(10)), bytes[data..data + size].to_vec()));
        bytes = &bytes[data + size.next_multiple_of(4)..];
    }
}

#[test]
fn the_initramfs_holds_init_its_spec_and_the_modules_in_order() {
    let module = |name: &str| Module {
        name: name.to_owned(),
        path: format!("usr/lib/modules/6.12/kernel/{name}.ko.xz"),
        content: noise(5000, name.len() as u64).into(),
        firmware: Vec::new(),
    };
    let modules = [module("virtio_blk"), module("nvme")];
    let keys = [public(1), public(2)];
    let firstboot = vec![7; 300_000];
    let inputs = Inputs {
        firstboot: &firstboot,
        compatible: &Compatible { role: ROUTER, profile: ProfileName::from(&ROUTER) },
        root_size: DEFAULT_ROOT_SIZE,
        bootsel: b"bootsel",
        modules: &modules,
        keys: &keys,
        disk_timeout_s: 30,
    };
    let packed = initramfs::make(&inputs).unwrap();
    assert_eq!(packed.path, "initramfs.img");
    let plain = zstd::decode_all(&packed.bytes[..]).unwrap();
    assert_eq!(plain.len() % 512, 0);
    let entries = unpack(&plain);
    let find = |name: &str| entries.iter().find(|entry| entry.0 == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((find("init").1, &find("init").3), (0o100_755, &firstboot));
    assert_eq!((find("dev/console").1, find("dev/console").2), (0o020_600, (5, 1)));
    let spec: InitramfsSpec = serde_json::from_slice(&find("etc/microdc/initramfs.json").3).unwrap();
    assert_eq!(spec.keys, keys);
    assert_eq!(spec.modules.len(), 2);
    for (path, module) in spec.modules.iter().zip(&modules) {
        assert_eq!(find(&path[1..]).3[..], module.content.to_bytes().unwrap()[..]);
    }
    for folder in ["dev", "proc", "sys", "run", "root"] {
        assert_eq!(find(folder).1, 0o040_755);
    }
    for (index, entry) in entries.iter().enumerate() {
        let above = entry.0.rsplit_once('/').map(|(above, _)| above);
        assert!(above.is_none_or(|above| entries[..index].iter().any(|entry| entry.0 == above)), "{}", entry.0);
    }
    assert!(initramfs::make(&inputs).unwrap().bytes == packed.bytes, "made twice alike");
}

#[test]
fn an_empty_archive_is_one() {
    assert!(unpack(&cpio::Archive::default().finish()).is_empty());
}

#[test]
fn the_packed_kernel_is_one_gzip_member_whatever_the_cores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel.gz");
    let data: Vec<u8> = noise(300_000, 1).repeat(12);
    let packed = gzip::compress(&data, 6).unwrap();
    std::fs::write(&path, &packed).unwrap();
    tool_ok("gzip", &["-t", path.to_str().unwrap()]);
    let out = tool("gzip", &["-dc", path.to_str().unwrap()]);
    assert!(out.stdout == data);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(alone.install(|| gzip::compress(&data, 6)).unwrap() == packed);
}
