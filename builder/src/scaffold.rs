//! A new profile: a short file that includes the role's own profile, its example node config, an overlay, and the
//! versions that the role's lock has.

use contract::node::HostName;
use contract::role::Role;
use std::path::{Path, PathBuf};

/// Parts that a profile of a role begins with where the project has no profile of the role itself.
const PARTS: [&str; 5] = ["base", "display", "time", "ssh", "metrics"];

/// A profile that cannot be begun. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error("{0:?} is not a valid profile name: lower-case letters, digits and hyphens, at most 63, a letter first")]
    Name(String),
    #[error("{} already exists, and nothing is overwritten: choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    #[error(
        "there is neither profiles/{role}.toml nor profiles/parts/base.toml in {}: run microdc in a checkout of its \
         repository, or copy profiles/ and overlays/ from there", base.display()
    )]
    NoParts { role: Role, base: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
}

/// What was made, in the order in which one reads it. The first is the profile, the second its example node config.
#[derive(Clone, Debug)]
pub struct Made {
    pub files: Vec<PathBuf>,
    /// Whether no profile of the role is there to be included.
    pub own_role: bool,
}

/// Begins a profile in the project at `base`. `node_config` makes a node config for a role without an example.
///
/// # Errors
/// When the name will not do, something of that name is there already, or a file cannot be written.
pub fn make(
    base: &Path,
    name: &str,
    role: &Role,
    node_config: &dyn Fn(&Role, &HostName) -> String,
) -> Result<Made, ScaffoldError> {
    let host = host_name(name).ok_or_else(|| ScaffoldError::Name(name.to_owned()))?;
    let profiles = base.join("profiles");
    let of_role = |ending: &str| Some(profiles.join(format!("{role}.{ending}"))).filter(|path| path.is_file());
    let include = match of_role("toml") {
        Some(_) => format!("[\"{role}.toml\"]"),
        None => {
            parts(&profiles).ok_or_else(|| ScaffoldError::NoParts { role: role.clone(), base: base.to_owned() })?
        }
    };
    let read = |path: &Path| {
        let io = |source| ScaffoldError::Io { doing: "read", path: path.to_owned(), source };
        std::fs::read_to_string(path).map_err(io)
    };
    let own_role = of_role("toml").is_none();
    let node = match of_role("node.toml") {
        Some(path) => renamed(&read(&path)?, &host),
        None => node_config(role, &host),
    };
    let readme = format!("etc/{name}/README");
    let overlay = base.join("overlays").join(name);
    let mut files = vec![
        (profiles.join(format!("{name}.toml")), profile(name, role, &include)),
        (profiles.join(format!("{name}.node.toml")), node),
        (
            overlay.join(&readme),
            format!(
                "The files in overlays/{name} are laid over the root of the image: this file becomes /{readme}.\nPut \
                    your own files beside it, then remove it.\n"
            ),
        ),
    ];
    if let Some(lock) = of_role("lock") {
        files.push((profiles.join(format!("{name}.lock")), read(&lock)?));
    }
    for path in files.iter().map(|(path, _)| path).chain([&overlay]) {
        if path.exists() {
            return Err(ScaffoldError::Exists(path.clone()));
        }
    }
    for (path, text) in &files {
        let io = |doing| move |source| ScaffoldError::Io { doing, path: path.clone(), source };
        std::fs::create_dir_all(path.parent().unwrap_or(base)).map_err(io("make the folder of"))?;
        let mut file = std::fs::File::create_new(path).map_err(io("write"))?;
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(io("write"))?;
    }
    Ok(Made { files: files.into_iter().map(|(path, _)| path).collect(), own_role })
}

/// A profile's name becomes those of files, and of the node of its example.
fn host_name(name: &str) -> Option<HostName> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fine = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(plain);
    if fine { HostName::try_from(name.to_owned()).ok() } else { None }
}

/// The parts that are there, as a list in TOML; nothing without the one that everything needs.
fn parts(profiles: &Path) -> Option<String> {
    let there = |name: &&&str| profiles.join("parts").join(format!("{name}.toml")).is_file();
    let found: Vec<String> = PARTS.iter().filter(there).map(|name| format!("{name:?}")).collect();
    (found.first()? == "\"base\"").then(|| format!("[{}]", found.join(", ")))
}

/// An example node config, for a node of another name.
pub(crate) fn renamed(text: &str, host: &HostName) -> String {
    let mut done = false;
    let lines = text.lines().map(|line| match !done && line.starts_with("name = ") {
        true => {
            done = true;
            format!("name = \"{}\"\n", host.as_str())
        }
        false => format!("{line}\n"),
    });
    lines.collect()
}

fn profile(name: &str, role: &Role, include: &str) -> String {
    let kind = if name == role.name() { "role" } else { role.name() };
    format!(
        r#"# {name}: what it adds to its includes. profiles/REFERENCE.md documents every key.
format = 1
role = "{role}"
summary = "{name}, a {kind} of our own"
include = {include}
overlays = ["{name}"]
example = "{name}.node.toml"

# A file of the overlay that is rendered from node.toml at boot: overlays/{name}/usr/lib/microdc/templates/hello.conf.j2.
#[[template]]
#from = "hello.conf.j2"
#to = "/run/hello.conf"

# Programs from Debian's packages; the libraries that they need are added automatically.
#[packages.tcpdump]
#take = ["usr/bin/tcpdump"]

# A setting of the kernel.
#[sysctl]
#"net.core.somaxconn" = "4096"

# A program of your own, from the overlay: it runs as its own user, with only the capabilities named here.
#[user.hello]
#id = 900
#[service.hello]
#run = ["/usr/bin/hello"]
#user = "hello"
#after = ["network"]
#limits = {{ memory = "64MiB", pids = 16 }}

# Checks that must pass before a new image is kept.
#[[health]]
#service = "hello"
#stable = "10s"
"#
    )
}
