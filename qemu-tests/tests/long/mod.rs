//! What takes long: more states of the claims that the tests above hold in a shorter form.

mod many_cuts;
mod powercut;
