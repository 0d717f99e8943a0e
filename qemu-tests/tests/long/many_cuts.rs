//! More states of whole updates, and more of them booted; `powercut_update` looks at fewer.

use crate::powercut_update::{Sample, claim_and_commit, committed, rolled_back};

const SAMPLE: Sample = Sample { drawn: 330, booted: 34, module: "long::many_cuts" };

#[test]
fn an_update_that_is_committed_survives_a_power_cut_at_any_write() {
    committed(SAMPLE);
}

#[test]
fn a_trial_that_is_rolled_back_survives_a_power_cut_at_any_write() {
    rolled_back(SAMPLE);
}

#[test]
fn a_claim_and_a_commit_together_survive_a_power_cut_at_any_write() {
    claim_and_commit(SAMPLE);
}
