//! What has been said of servers' answers: each remark once, and no more of them are remembered than there is room for.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Most remarks that are remembered as said.
pub const MOST_SAID: usize = 64;

/// The remarks of one task.
pub type Said = RefCell<BTreeSet<String>>;

/// Says something of `subject`, such as `eth0: DHCP`, once.
pub fn say_once(said: &Said, subject: std::fmt::Arguments<'_>, what: String) {
    let mut said = said.borrow_mut();
    if said.len() >= MOST_SAID {
        said.clear();
    }
    if !said.contains(&what) {
        println!("{subject}: {what}");
        said.insert(what);
    }
}
