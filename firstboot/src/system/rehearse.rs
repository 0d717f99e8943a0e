//! `firstboot confine-as SERVICE PROGRAM [ARGUMENT ...]`: runs a program as a service of this node is run: its user, its
//! capabilities, its cgroup and its confinement, by the same code. For tests and other privileged callers, to see what
//! a compromised service could reach. With `--bare` before the program the confinement is left out.

use super::services;
use crate::service::{Ground, cell, command, confinement};
use crate::sys::cgroup::{self, Cgroup};
use crate::sys::process::{Program, Surroundings, spawn};
use anyhow::Context as _;
use contract::names::ROLE_SPEC;
use contract::role::{NETWORK, RoleSpec, Service};
use rustix::process::{WaitOptions, waitpid};
use std::fs::OpenOptions;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Runs it; `arguments` are those behind `confine-as`. Ends with the status of the program.
pub fn run(arguments: &[String]) {
    match rehearse(arguments) {
        Ok(status) => std::process::exit(status),
        Err(error) => {
            eprintln!("confine-as: {error:#}");
            std::process::exit(2);
        }
    }
}

fn rehearse(arguments: &[String]) -> anyhow::Result<i32> {
    let (name, rest) = arguments.split_first().context("the name of a service and a program are required")?;
    let (bare, run) = match rest.split_first() {
        Some((word, run)) if word == "--bare" => (true, run),
        _ => (false, rest),
    };
    let role: RoleSpec = super::read_json(ROLE_SPEC)?;
    let service = service(&role, name)?;
    let confinement = confinement(&service, &Ground::of(&role)).map_err(anyhow::Error::msg)?;
    let output = std::io::stdout();
    let contained = service.sandbox.containers && !bare;
    let run = if bare { run.to_vec() } else { command(&service, run) };
    let program = Program {
        run: &run,
        environment: vec![("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())],
        identity: &service.identity,
        capabilities: &service.capabilities,
        cgroup: procs(name, contained.then_some(&service))?,
        output: output.as_fd(),
        surroundings: Surroundings {
            new_privileges: service.new_privileges,
            confinement: (!bare).then_some(&confinement),
            ..Surroundings::default()
        },
    };
    let pid = spawn(&program)?;
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())?.context("it did not exit")?;
    Ok(status.exit_status().unwrap_or(128))
}

fn service(role: &RoleSpec, name: &str) -> anyhow::Result<Service> {
    if name == NETWORK {
        return Ok(services::network_service(&role.services));
    }
    let known = || role.services.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    role.services.get(name).cloned().with_context(|| format!("this role has no service {name}; it has {}", known()))
}

/// The service's own cgroup, once it has been started, or another cell in it.
fn procs(name: &str, contained: Option<&Service>) -> anyhow::Result<Option<OwnedFd>> {
    let services = Path::new(cgroup::MOUNT).join("services");
    if let Some(service) = contained {
        let cell = cell(service, &Cgroup::create(&services, name)?, "tried").context("cannot guard its cgroup")?;
        return Ok(Some(cell.procs()?));
    }
    Ok(OpenOptions::new().write(true).open(services.join(name).join("cgroup.procs")).ok().map(OwnedFd::from))
}
