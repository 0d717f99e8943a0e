//! Builds the images under test, all in one process: what they share is fetched, compiled and packed once.
//!
//! `cargo run --release -p qemu-tests --bin test-images` builds every one that no variable of the environment replaces, and
//! with `--long` those too that only long tests use; further words are the names of those to build.

use anyhow::{Context as _, Result, bail, ensure};
use microdc::node_program::TARGET;
use microdc::pipeline::{Environment, Options, Supply, build_several};
use microdc::report::Reporter;
use qemu_tests::images::{IMAGES, LockUse, TestImage, root, target};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Cargo profile of the programs for the node under test.
const PROFILE: &str = "guest";
/// An overlay that profiles name: the probe where services start it.
const OVERLAY: &str = "target/probe-overlay/usr/lib/microdc";

fn main() -> Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let words = names.len();
    names.retain(|word| word != "--long");
    let long = names.len() < words;
    if let Some(unknown) = names.iter().find(|name| IMAGES.iter().all(|image| image.name != name.as_str())) {
        let all: Vec<&str> = IMAGES.iter().map(|image| image.name).collect();
        bail!("there is no test image {unknown:?}; known: {}", all.join(", "));
    }
    let wanted = |image: &&TestImage| match names.as_slice() {
        [] => image.replaced().is_none() && (long || !image.long),
        names => names.iter().any(|name| name == image.name),
    };
    let images: Vec<&TestImage> = IMAGES.iter().filter(wanted).collect();
    let root = root();
    let mut supplies = guest_programs(&root)?;
    if images.iter().any(|image| image.stand_ins.contains(&"garage")) {
        supplies.push(garage(&root)?);
    }
    // Those that may change their lock come first: others take the packages from it.
    let (first, then): (Vec<&TestImage>, Vec<_>) =
        images.into_iter().partition(|image| image.lock == LockUse::Refreshed || image.packages_of.is_none());
    build(&root, &first, &supplies)?;
    for image in &then {
        if let Some(name) = image.packages_of {
            let (from, to) = (root.join(format!("profiles/{name}.lock")), root.join(image.profile));
            let to = to.with_extension("lock");
            std::fs::copy(&from, &to)
                .with_context(|| format!("copying the lock {} to {}", from.display(), to.display()))?;
        }
    }
    build(&root, &then, &supplies)
}

/// Builds images of which none needs another one's lock.
fn build(root: &Path, images: &[&TestImage], supplies: &[Supply]) -> Result<()> {
    let begun = Instant::now();
    let from = Environment {
        base: root.to_owned(),
        offline: false,
        mirror: None,
        security_mirror: None,
        accept_expired: Vec::new(),
        jobs: None,
        interrupted: std::sync::Arc::default(),
    };
    // What is supplied must be of use to one of them.
    let of_use = |supply: &&Supply| images.iter().any(|image| image.stand_ins.contains(&supply.name.as_str()));
    let supplies: Vec<Supply> = supplies.iter().filter(of_use).cloned().collect();
    let options = |image: &&TestImage| Options {
        profile: image.profile.to_owned(),
        output: Some(image.path()),
        locked: image.lock == LockUse::Locked,
        key: None,
        trust: Vec::new(),
        unsigned: false,
        public: None,
        supplies: supplies.clone(),
        from: from.clone(),
    };
    let builds: Vec<Options> = images.iter().map(options).collect();
    let outcomes = build_several(&builds, &Reporter::new(false))?;
    let mut failed = Vec::new();
    for outcome in &outcomes {
        match &outcome.result {
            Ok(summary) => println!("{summary}"),
            Err(error) => {
                eprintln!("{} failed: {error:#}", outcome.profile);
                failed.push(outcome.profile.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "{} of {} images failed: {}", failed.len(), outcomes.len(), failed.join(", "));
    println!("{} images in {:.1} s", outcomes.len(), begun.elapsed().as_secs_f32());
    Ok(())
}

/// Compiles the programs for the node under test in one call, lays the probe into its overlay, and returns the stand-ins.
fn guest_programs(root: &Path) -> Result<Vec<Supply>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--package", "guest", "--bins", "--profile", PROFILE, "--target", TARGET])
        .current_dir(root)
        .stdin(Stdio::null())
        .status()
        .context("starting cargo, which compiles the programs for the node under test")?;
    ensure!(
        status.success(),
        "the programs for the node under test (qemu-tests/guest) do not compile: cargo {status}"
    );
    let target = target();
    let programs = root.join(&target).join(TARGET).join(PROFILE);

    let overlay = root.join(OVERLAY);
    std::fs::create_dir_all(&overlay).with_context(|| format!("making the folder {}", overlay.display()))?;
    replace(&overlay.join("probe"), &read(&programs.join("probe"))?)?;

    let images = root.join(&target).join("stand-in-images.tar.zst");
    replace(&images, b"stand-in for the images of k3s\n")?;
    let stand_in = programs.join("stand-in");
    let supply = |name: &str, file: &Path| Supply { name: name.to_owned(), file: file.to_owned() };
    Ok(vec![supply("k3s", &stand_in), supply("k3s-images", &images), supply("tinkerbell", &stand_in)])
}

/// Garage from its source (`qemu-tests/garage`), which takes some minutes the first time.
fn garage(root: &Path) -> Result<Supply> {
    let script = root.join("qemu-tests/garage");
    let output = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("starting {}", script.display()))?;
    ensure!(output.status.success(), "Garage does not compile: {} {}", script.display(), output.status);
    let path = String::from_utf8(output.stdout).context("the path of Garage is not text")?;
    Ok(Supply { name: "garage".to_owned(), file: path.trim_end().into() })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes a program, unless the very same is there already.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = || format!("writing {}", path.display());
    if std::fs::read(path).ok().as_deref() != Some(content) {
        std::fs::write(path, content).with_context(failed)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).with_context(failed)
}
