//! The times of a trial: each has its default, and they follow each other.

use super::super::quantity::Milliseconds;
use super::super::schema::UpdateKeys;
use super::super::value::Located;
use super::Checker;
use contract::role::Trial;

impl Checker<'_> {
    pub(super) fn update(&mut self) -> Trial {
        let profile = self.profile;
        let UpdateKeys { settle, network, services, commit } = &profile.update;
        let usual = Trial::default();
        let time = |written: &Option<Located<Milliseconds>>, usual| written.as_ref().map_or(usual, |at| at.value.0);
        let trial = Trial {
            settle_ms: time(settle, usual.settle_ms),
            network_ms: time(network, usual.network_ms),
            services_ms: time(services, usual.services_ms),
            commit_ms: time(commit, usual.commit_ms),
        };
        let order = [
            (trial.network_ms, "update.network", trial.services_ms, "update.services"),
            (trial.services_ms, "update.services", trial.commit_ms, "update.commit"),
            (trial.settle_ms, "update.settle", trial.commit_ms, "update.commit"),
        ];
        let places = [network, services, settle, commit];
        for (sooner, first, later, second) in order.into_iter().filter(|(sooner, _, later, _)| sooner > later) {
            // The written one is at fault: two defaults are in order.
            let place = places.iter().find_map(|written| {
                written.as_ref().filter(|at| at.value.0 == sooner || at.value.0 == later).map(|at| at.place.clone())
            });
            if let Some(place) = place {
                let message = format!("`{first}` ({sooner} ms) is later than `{second}` ({later} ms)");
                self.wrong(&place, message, Some(format!("set `{second}` too, or an earlier `{first}`")));
            }
        }
        trial
    }
}
