//! More booted states of a claim; `powercut.rs` looks at all of them and boots some.

use crate::powercut::{the_claim_of_a_disk_survives, the_first_boot_survives};

const BOOTED: u32 = 12;

#[test]
fn a_claim_of_a_disk_with_somebodys_raid_on_it_survives_a_power_cut_at_any_write() {
    the_claim_of_a_disk_survives(BOOTED);
}

#[test]
fn the_first_boot_of_a_system_disk_survives_a_power_cut_at_any_write() {
    the_first_boot_survives(BOOTED);
}
