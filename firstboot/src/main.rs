//! PID 1 of a microdc node, and the tools on it.

fn main() {
    firstboot::run();
}
