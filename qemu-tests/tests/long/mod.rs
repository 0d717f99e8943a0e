//! What takes long: daemons that come up slowly without hardware help, and more states of the claims that the tests above hold
//! in a shorter form.

mod daemons;
mod garage;
mod k3s_restore;
mod latency;
mod many_cuts;
mod powercut;
