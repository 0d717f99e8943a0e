//! Programs whose upstream gives only source: a main package of a Go module at an exact version, compiled here.
//!
//! The bytes depend on the module's version, on the Go that compiles and on the flags below, and on nothing else of the
//! machine: `-trimpath` takes the paths away, cgo is off, and no setting of the user reaches the compiler but those that
//! say where modules come from and how they are checked (GOPROXY, GOSUMDB ...). Modules and compiled packages are kept
//! where the user's own Go keeps them. The lock pins the version of Go, and GOTOOLCHAIN requests exactly that version.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use contract::hash::Digest;
use serde::{Deserialize, Serialize};

use super::http::Fetched;
use crate::cache::{Cache, CacheError, Key};
use crate::profile::artifact::GoProgram;

/// The compiler's flags; part of the key of its output.
const FLAGS: [&str; 3] = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="];
/// The node, and what of the user's Go must not reach the compiler.
const SETTINGS: [(&str, &str); 7] = [
    ("GOOS", "linux"),
    ("GOARCH", "arm64"),
    ("GOARM64", "v8.0"),
    ("CGO_ENABLED", "0"),
    ("GO111MODULE", "on"),
    ("GOWORK", "off"),
    ("GOENV", "off"),
];
/// What says where modules come from and how they are checked: the user's own affair.
const RESPECTED: [&str; 9] =
    ["GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH", "GOCACHEPROG"];

/// What the lock says of a program.
#[derive(Clone, Debug)]
pub struct Pinned<'l> {
    /// Go's hash of the module.
    pub sum: &'l str,
    /// The Go that compiled it: `go1.26.8`.
    pub go: &'l str,
    pub size: u64,
    pub sha256: Digest,
}

/// A compiled program, in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    pub file: Fetched,
    pub module: String,
    /// `h1:…`
    pub sum: String,
    pub go: String,
}

/// A program that was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum GoError {
    #[error(
        "{program} is compiled with Go, but there is no `go` on this machine; {} is needed\n\
         Install Go 1.21 or later (Debian: apt install golang-go), which fetches the required version by itself; or pass a compiled program with --supply",
        wanted(.locked)
    )]
    Missing { program: GoProgram, locked: Option<String> },
    #[error(
        "{program} needs {needed}, and this machine has {found}, which could not fetch it:\n{output}\n\
         Install {needed} or later, or let Go fetch it (Go 1.21 or later does, with network access)"
    )]
    TooOld { program: GoProgram, needed: String, found: String, output: String },
    #[error(
        "{program} is locked as compiled by {locked}, but this machine has {found}, which could not fetch that:\n\
         {output}\nInstall {locked}, let Go fetch it (Go 1.21 or later does, with network access), or compile it again with \
         another: microdc lock --update"
    )]
    OtherGo { program: GoProgram, locked: String, found: String, output: String },
    #[error(
        "{program}, compiled by {go}, has the SHA-256 {found}, but {expected} is locked, which {go} made as well: its \
            source or the compiler differs; if that is intended, compile it again with microdc lock --update"
    )]
    Differs { program: GoProgram, go: String, found: String, expected: String },
    #[error("the source of {program} has the sum {found}, but {expected} is locked: what was published has changed")]
    Sum { program: GoProgram, found: String, expected: String },
    #[error("{program} is not in the cache, and Go cannot compile it without network access:\n{output}")]
    Offline { program: GoProgram, output: String },
    #[error("`{command}` failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("{what} of {program} cannot be parsed: {why}")]
    Answer { program: GoProgram, what: &'static str, why: String },
    #[error("stopped; what Go has compiled so far is kept")]
    Cancelled,
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn wanted(locked: &Option<String>) -> String {
    locked
        .as_ref()
        .map_or_else(|| "the version that its go.mod names".to_owned(), |go| format!("{go}, as the lock says"))
}

/// Compiles Go programs into the cache.
#[derive(Clone, Copy)]
pub struct GoSource<'a> {
    pub cache: &'a Cache,
    /// Go may fetch nothing.
    pub offline: bool,
    /// Receives what Go is doing.
    pub note: &'a dyn Fn(&str),
    /// Whether the operator wants to stop.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What is kept of a compiled program.
#[derive(Serialize, Deserialize)]
struct Record {
    module: String,
    sum: String,
    size: u64,
    sha256: Digest,
}

/// The machine's Go, and where it keeps things.
struct Tool {
    /// `go1.26.8`.
    version: String,
    settings: Vec<(&'static str, String)>,
}

impl GoSource<'_> {
    /// The program, compiled: from the cache, else by the machine's Go.
    ///
    /// # Errors
    /// When there is no Go, it cannot compile the program, or what came of it is not what the lock says.
    pub fn bring(&self, program: &GoProgram, pinned: Option<&Pinned<'_>>) -> Result<Compiled, GoError> {
        if let Some(pinned) = pinned
            && let Some(compiled) = self.known(program, pinned.go).filter(|known| known.file.sha256 == pinned.sha256)
        {
            return Ok(compiled);
        }
        let tool = self.tool(program, pinned)?;
        let go = pinned.map_or(tool.version.as_str(), |pinned| pinned.go).to_owned();
        if pinned.is_none()
            && let Some(compiled) = self.known(program, &go)
        {
            return Ok(compiled);
        }
        let compiled = self.compile(program, &tool, &go, pinned.is_some())?;
        if let Some(pinned) = pinned {
            if compiled.sum != pinned.sum {
                let (found, expected) = (compiled.sum, pinned.sum.to_owned());
                return Err(GoError::Sum { program: program.clone(), found, expected });
            }
            if compiled.file.sha256 != pinned.sha256 {
                let (found, expected) = (compiled.file.sha256.to_string(), pinned.sha256.to_string());
                return Err(GoError::Differs { program: program.clone(), go: compiled.go, found, expected });
            }
        }
        Ok(compiled)
    }

    fn key(program: &GoProgram, go: &str) -> Key {
        let mut key = Key::of_stage("go", 1).with("package", &program.package).with("version", &program.version);
        key.add("go", go);
        FLAGS.iter().for_each(|flag| key.add("flag", flag));
        SETTINGS.iter().for_each(|(name, value)| key.add(name, value));
        key.finish()
    }

    /// What the cache has of a program compiled by this Go.
    fn known(&self, program: &GoProgram, go: &str) -> Option<Compiled> {
        let bytes = self.cache.get_bytes("go", Self::key(program, go))?;
        let Record { module, sum, size, sha256 } = serde_json::from_slice(&bytes).ok()?;
        let path = self.cache.blob(sha256, size)?;
        Some(Compiled { file: Fetched { path, size, sha256 }, module, sum, go: go.to_owned() })
    }

    /// Asks the machine's Go who it is and what the user told it.
    fn tool(&self, program: &GoProgram, pinned: Option<&Pinned<'_>>) -> Result<Tool, GoError> {
        let mut command = Command::new("go");
        command.args(["env", "-json", "GOVERSION", "GOMODCACHE", "GOCACHE"]).args(RESPECTED);
        command.env("GOTOOLCHAIN", "local").env_remove("GOFLAGS").current_dir(self.cache.root());
        let answer = match command.stdin(Stdio::null()).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let locked = pinned.map(|pinned| pinned.go.to_owned());
                return Err(GoError::Missing { program: program.clone(), locked });
            }
            Err(source) => return Err(GoError::Start { program: "go".to_owned(), source }),
            Ok(answer) => success(&command, answer)?,
        };
        let mut told: std::collections::BTreeMap<String, String> = serde_json::from_str(&answer)
            .map_err(|error| understood(program, "what `go env` says", &error.to_string()))?;
        let version = told.remove("GOVERSION").unwrap_or_default();
        // `go1.26.8 X:experiments` says more than the version.
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        let mut settings = Vec::new();
        for name in RESPECTED {
            settings.extend(told.remove(name).filter(|value| !value.is_empty()).map(|value| (name, value)));
        }
        // A user without a home has no caches of Go.
        for (name, own) in [("GOMODCACHE", "go/modules"), ("GOCACHE", "go/build")] {
            let value = told.remove(name).filter(|value| !matches!(value.as_str(), "" | "off"));
            let own = || self.cache.root().join(own).display().to_string();
            settings.push((name, value.unwrap_or_else(own)));
        }
        Ok(Tool { version, settings })
    }

    fn compile(&self, program: &GoProgram, tool: &Tool, go: &str, locked: bool) -> Result<Compiled, GoError> {
        let place = self.cache.temp_dir()?;
        let chosen = if go == tool.version { "local" } else { go };
        (self.note)(&format!("compiling {program} with {go}"));
        let output = match self.install(program, tool, chosen, place.path())? {
            Ok(()) => return self.adopt(program, tool, place.path()),
            Err(output) => output,
        };
        let (found, program) = (tool.version.clone(), program.clone());
        if self.offline {
            return Err(GoError::Offline { program, output });
        }
        if locked && chosen != "local" {
            return Err(GoError::OtherGo { program, locked: go.to_owned(), found, output });
        }
        let Some(needed) = needed(&output).filter(|_| !locked) else {
            return Err(GoError::Failed { command: format!("go install {program}"), output });
        };
        (self.note)(&format!("{program} needs {needed}"));
        match self.install(&program, tool, &needed, place.path())? {
            Ok(()) => self.adopt(&program, tool, place.path()),
            Err(output) => Err(GoError::TooOld { program, needed, found, output }),
        }
    }

    /// `go install`, into `place/bin`. What Go said when it failed is the inner error.
    fn install(
        &self,
        program: &GoProgram,
        tool: &Tool,
        toolchain: &str,
        place: &Path,
    ) -> Result<Result<(), String>, GoError> {
        let mut command = Command::new("go");
        command.arg("install").arg("-v").args(FLAGS).arg(program.to_string()).current_dir(place);
        for (name, _) in std::env::vars_os() {
            let steers = name.to_str().is_none_or(|name| name.starts_with("GO") || name.starts_with("CGO_"));
            // GOROOT may be what makes this Go work at all.
            if steers && name != "GOROOT" {
                command.env_remove(&name);
            }
        }
        command.envs(SETTINGS).envs(tool.settings.iter().map(|(name, value)| (*name, value.as_str())));
        command.env("GOPATH", place).env("GOTOOLCHAIN", toolchain).env_remove("GOROOT_FINAL");
        if self.offline {
            command.env("GOPROXY", "off");
        }
        let (success, output) = self.run(&mut command)?;
        Ok(if success { Ok(()) } else { Err(output) })
    }

    /// Runs a command, telling its lines as they come; it is killed when the operator wants to stop.
    fn run(&self, command: &mut Command) -> Result<(bool, String), GoError> {
        let start = |source| GoError::Start { program: "go".to_owned(), source };
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(start)?;
        let (sender, lines) = mpsc::channel();
        let reader = child.stderr.take();
        thread::spawn(move || {
            for line in reader.into_iter().flat_map(|errors| BufReader::new(errors).lines().map_while(Result::ok)) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut output = String::new();
        loop {
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    (self.note)(line.trim());
                    output.push_str(&line);
                    output.push('\n');
                }
                Err(RecvTimeoutError::Timeout) if (self.cancelled)() => return Err(stop(&mut child)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.wait().map_err(start)?;
        Ok((status.success(), output))
    }

    /// Takes what was compiled into the cache, with what it says of itself.
    fn adopt(&self, program: &GoProgram, tool: &Tool, place: &Path) -> Result<Compiled, GoError> {
        let path = only_file(&place.join("bin"))?
            .ok_or_else(|| understood(program, "the outcome", "it is not a program: Go made no file"))?;
        let mut command = Command::new("go");
        command.args(["version", "-m"]).arg(&path).env("GOTOOLCHAIN", "local").env_remove("GOFLAGS");
        command.envs(tool.settings.iter().map(|(name, value)| (*name, value.as_str()))).current_dir(place);
        let answer = command.stdin(Stdio::null()).output();
        let answer = answer.map_err(|source| GoError::Start { program: "go".to_owned(), source })?;
        let said = success(&command, answer)?;
        let BuildInfo { go, module, version, sum } = BuildInfo::parse(&said).ok_or_else(|| {
            understood(program, "what `go version -m` says", said.lines().next().unwrap_or_default())
        })?;
        if version != program.version {
            return Err(understood(
                program,
                "the outcome",
                &format!("its module {module} has the version {version}"),
            ));
        }
        let mut file = std::fs::File::open(&path).map_err(|source| GoError::Read { path: path.clone(), source })?;
        let (sha256, size, path) = self.cache.add_stream(&mut file)?;
        let record = Record { module: module.clone(), sum: sum.clone(), size, sha256 };
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        self.cache.put_bytes("go", Self::key(program, &go), &bytes)?;
        Ok(Compiled { file: Fetched { path, size, sha256 }, module, sum, go })
    }
}

fn understood(program: &GoProgram, what: &'static str, why: &str) -> GoError {
    GoError::Answer { program: program.clone(), what, why: why.to_owned() }
}

fn stop(child: &mut Child) -> GoError {
    let _ = child.kill();
    let _ = child.wait();
    GoError::Cancelled
}

fn success(command: &Command, answer: Output) -> Result<String, GoError> {
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
    }
    let output = String::from_utf8_lossy(&answer.stderr).into_owned();
    Err(GoError::Failed { command: format!("{command:?}").replace('"', ""), output })
}

/// The one file below a folder.
fn only_file(folder: &Path) -> Result<Option<PathBuf>, GoError> {
    let read = |source| GoError::Read { path: folder.to_owned(), source };
    if !folder.is_dir() {
        return Ok(None);
    }
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        // Another platform's programs lie one folder deeper.
        let found = if path.is_dir() { only_file(&path)? } else { Some(path) };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The Go that a module asks for, from Go's own words: `… requires go >= 1.27.1 (running go 1.26.8; GOTOOLCHAIN=local)`.
fn needed(output: &str) -> Option<String> {
    let rest = output.split("requires go >= ").nth(1)?;
    let version = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next()?.trim_end_matches('.');
    if !version.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // From 1.21 on the first release of a line has a zero: go1.27.0.
    let first =
        version.matches('.').count() == 1 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    Some(if first { format!("go{version}.0") } else { format!("go{version}") })
}

/// What a Go program says of itself.
#[derive(Debug, PartialEq, Eq)]
struct BuildInfo {
    go: String,
    module: String,
    version: String,
    sum: String,
}

impl BuildInfo {
    /// Reads the answer of `go version -m FILE`.
    fn parse(text: &str) -> Option<BuildInfo> {
        let mut lines = text.lines();
        let go = lines.next()?.rsplit_once(": ")?.1.split(' ').next()?.to_owned();
        let module = lines.map(|line| line.split('\t').skip(1).collect::<Vec<_>>());
        let module = module.into_iter().find(|words| words.first() == Some(&"mod"))?;
        let [_, path, version, sum] = module.get(..4)? else { return None };
        let fine = go.starts_with("go1.") && sum.starts_with("h1:");
        fine.then(|| BuildInfo {
            go,
            module: (*path).to_owned(),
            version: (*version).to_owned(),
            sum: (*sum).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_that_is_needed_stands_in_gos_own_words() {
        let said = "go: example.org/p@v1.0.0 requires go >= 1.27.1 (running go 1.26.8; GOTOOLCHAIN=local)\n";
        assert_eq!(needed(said).as_deref(), Some("go1.27.1"));
        assert_eq!(needed("requires go >= 1.27 (running").as_deref(), Some("go1.27.0"));
        assert_eq!(needed("requires go >= 1.27rc1 (running").as_deref(), Some("go1.27rc1"));
        assert_eq!(needed("no such module"), None);
        assert_eq!(needed("requires go >= x"), None);
    }

    #[test]
    fn a_program_says_its_module_and_its_go() {
        let text = "/tmp/p: go1.26.8\n\tpath\texample.org/m/cmd/p\n\tmod\texample.org/m\tv1.2.3\th1:abc=\n\
                    \tdep\texample.org/d\tv0.1.0\th1:def=\n\tbuild\tGOARCH=arm64\n";
        let info = BuildInfo::parse(text).unwrap();
        assert_eq!(
            (info.go.as_str(), info.module.as_str(), info.sum.as_str()),
            ("go1.26.8", "example.org/m", "h1:abc=")
        );
        for wrong in ["", "/tmp/p: not Go", "/tmp/p: go1.26.8\n\tpath\tx\n", "/tmp/p: go1.26.8\n\tmod\tx\t(devel)\n"]
        {
            assert_eq!(BuildInfo::parse(wrong), None, "{wrong:?}");
        }
    }
}
