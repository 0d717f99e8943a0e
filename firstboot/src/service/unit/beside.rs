//! What the programs of a service find in their environment, and another program among its processes.

use super::super::environment;
use super::super::keeper::Keeper;
use super::super::places::{PATH, Places};
use super::Unit;
use crate::sys::notify::NotifySocket;
use crate::sys::process::{Program, Surroundings, spawn};
use contract::role::Ready;
use rustix::process::Pid;
use std::os::fd::AsFd as _;

impl Unit {
    /// Its variables: PATH and the notify socket, then its files, then its own.
    pub(super) fn environment(&mut self, places: &Places) -> Result<Vec<(String, String)>, String> {
        let mut variables = vec![("PATH".to_owned(), PATH.to_owned())];
        if self.spec.ready == Some(Ready::Notify) {
            let path = places.notify.join(&self.name);
            let (uid, gid) = (self.spec.identity.uid, self.spec.identity.gid);
            let socket = NotifySocket::bind(&path, uid, gid);
            self.notify = Some(socket.map_err(|error| format!("cannot bind {}: {error}", path.display()))?);
            variables.push(("NOTIFY_SOCKET".to_owned(), path.to_string_lossy().into_owned()));
        }
        self.own_variables(&mut variables)?;
        Ok(variables)
    }

    /// Those of its files, then its own.
    fn own_variables(&self, variables: &mut Vec<(String, String)>) -> Result<(), String> {
        for (key, value) in environment::read_all(&self.spec.environment_files)? {
            environment::set(variables, key, value);
        }
        for (key, value) in &self.spec.environment {
            environment::set(variables, key.clone(), value.clone());
        }
        Ok(())
    }

    /// Starts another program among its processes, with its rights and its files, which writes to its log.
    ///
    /// # Errors
    /// Why it could not be started, in words.
    pub fn run_beside(&self, run: &[String]) -> Result<Pid, String> {
        let held = self.keeper.as_ref().filter(|keeper| Keeper::is_alive(keeper));
        let (Some(keeper), Some((_, write))) = (held, &self.pipe) else {
            return Err(format!("service {} has not been started since power-on", self.name));
        };
        let mut environment = vec![("PATH".to_owned(), PATH.to_owned())];
        self.own_variables(&mut environment)?;
        let program = Program {
            run,
            environment,
            identity: &self.spec.identity,
            capabilities: &self.spec.capabilities,
            cgroup: Some(keeper.cgroup()?),
            output: write.as_fd(),
            surroundings: Surroundings {
                folder: self.spec.working_folder.as_deref(),
                open_files: self.spec.limits.open_files,
                new_privileges: self.spec.new_privileges,
                confinement: Some(keeper.confinement()),
                beside: Some(keeper.process()),
                files: &[],
            },
        };
        spawn(&program).map_err(|error| error.to_string())
    }
}
