//! The program of the test images. Without arguments the agent, by which tests look into a node and break things there;
//! with one of [`acts`], a service that behaves in a certain way. A [`fault`] on the kernel command line comes first.

mod acts;
mod agent;
mod api;
mod attack;
mod bgp;
mod enter;
mod fault;
mod fill;
mod hang;
mod oci;
mod ptrace;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        None => {
            fault::begin();
            agent::run();
        }
        Some((act, rest)) => acts::run(act, &rest.iter().map(String::as_str).collect::<Vec<_>>()),
    }
}
