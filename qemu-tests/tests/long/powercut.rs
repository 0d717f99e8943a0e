//! More states of a claim, and more of them booted; `powercut.rs` looks at fewer.

use crate::powercut::{the_claim_of_a_disk_survives, the_first_boot_survives};

const SEPARATE: [u32; 2] = [180, 12];
const SYSTEM: [u32; 2] = [90, 12];

#[test]
fn a_claim_of_a_disk_with_somebodys_raid_on_it_survives_a_power_cut_at_any_write() {
    the_claim_of_a_disk_survives(SEPARATE);
}

#[test]
fn the_first_boot_of_a_system_disk_survives_a_power_cut_at_any_write() {
    the_first_boot_survives(SYSTEM);
}
