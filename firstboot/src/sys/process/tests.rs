//! Real processes on this machine.

use super::*;
use std::io::Read as _;

/// Runs a program and returns what it wrote and its exit status.
fn output(run: &[&str], identity: &Identity, capabilities: &[Capability]) -> (String, Option<i32>) {
    let run: Vec<String> = run.iter().map(|&text| text.to_owned()).collect();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let program = Program {
        run: &run,
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        identity,
        capabilities,
        cgroup: None,
        output: write.as_fd(),
        surroundings: Surroundings::default(),
    };
    let pid = spawn(&program).unwrap();
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    let (_, status) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
    (text, status.exit_status())
}

fn field<'t>(status: &'t str, name: &str) -> &'t str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

#[test]
fn a_service_has_its_user_and_exactly_its_capabilities() {
    let nobody = Identity { uid: 65_534, gid: 65_533, groups: vec![65_532] };
    let keep = [Capability::NetBindService, Capability::NetRaw];
    let (status, code) = output(&["/bin/cat", "/proc/self/status"], &nobody, &keep);
    assert_eq!(code, Some(0));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000002400", "{set} in {status}");
    }
    assert_eq!(field(&status, "Uid:"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&status, "Gid:"), "65533\t65533\t65533\t65533");
    assert_eq!(field(&status, "Groups:"), "65532");
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(field(&status, "SigBlk:"), "0000000000000000");
}

#[test]
fn a_process_finds_the_files_it_is_given_under_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<std::fs::File> = (0..3)
        .map(|number| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, format!("file {number}")).unwrap();
            std::fs::File::open(path).unwrap()
        })
        .collect();
    // Numbers that this process uses for other things; one in place of standard input.
    let given: Vec<(i32, BorrowedFd<'_>)> =
        [3, 0, 9].into_iter().zip(files.iter().map(|file| file.as_fd())).collect();
    let surroundings = Surroundings { files: &given, ..Surroundings::default() };
    let read = "/bin/cat <&3; /bin/cat; /bin/cat <&9; /bin/ls /proc/self/fd";
    let text = output_in(&["/bin/sh", "-c", read], surroundings).unwrap();
    assert!(text.starts_with("file 0file 1file 2"), "{text}");
    let surroundings = Surroundings { files: &[(ABOVE_FILES, files[0].as_fd())], ..Surroundings::default() };
    assert!(output_in(&["/bin/true"], surroundings).is_err());
}

#[test]
fn even_root_has_only_the_capabilities_it_was_given() {
    let (status, _) = output(&["/bin/cat", "/proc/self/status"], &Identity::default(), &[Capability::NetAdmin]);
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(&status, set), "0000000000001000", "{set} in {status}");
    }
}

#[test]
fn a_service_inherits_no_descriptor_but_its_three() {
    let held = std::fs::File::open("/proc/self/status").unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    let (list, _) = output(&["/bin/ls", "/proc/self/fd"], &Identity::default(), &[]);
    // The fourth is ls's own, for reading the folder.
    assert_eq!(list.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn a_program_that_does_not_exist_is_named_with_the_reason() {
    let run = ["/nowhere/program".to_owned()];
    let (_read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let program = Program {
        run: &run,
        environment: Vec::new(),
        identity: &Identity::default(),
        capabilities: &[],
        cgroup: None,
        output: write.as_fd(),
        surroundings: Surroundings::default(),
    };
    let error = spawn(&program).unwrap_err().to_string();
    assert_eq!(error, "cannot start /nowhere/program: cannot execute: No such file or directory (os error 2)");
}

/// As [`output`], as root with every right that a change of mounts needs before it is dropped.
fn output_in(run: &[&str], surroundings: Surroundings<'_>) -> Result<String, SpawnError> {
    let run: Vec<String> = run.iter().map(|&text| text.to_owned()).collect();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let identity = Identity { uid: 65_534, gid: 65_534, groups: Vec::new() };
    let program = Program {
        run: &run,
        environment: Vec::new(),
        identity: &identity,
        capabilities: &[],
        cgroup: None,
        output: write.as_fd(),
        surroundings,
    };
    let pid = spawn(&program)?;
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
    Ok(text)
}

#[test]
fn a_program_has_its_folder_and_its_limit_of_open_files() {
    let surroundings = Surroundings { folder: Some("/usr"), open_files: Some(77), ..Surroundings::default() };
    let text = output_in(&["/bin/sh", "-c", "pwd; ulimit -n"], surroundings).unwrap();
    assert_eq!(text, "/usr\n77\n");
    let surroundings = Surroundings { folder: Some("/nowhere"), ..Surroundings::default() };
    let error = output_in(&["/bin/true"], surroundings).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot start /bin/true: cannot enter its working folder: No such file or directory (os error 2)"
    );
}

#[test]
fn new_privileges_are_forbidden_unless_they_are_asked_for() {
    for (new_privileges, wanted) in [(false, "1"), (true, "0")] {
        let surroundings = Surroundings { new_privileges, ..Surroundings::default() };
        let status = output_in(&["/bin/cat", "/proc/self/status"], surroundings).unwrap();
        assert_eq!(field(&status, "NoNewPrivs:"), wanted);
    }
}
