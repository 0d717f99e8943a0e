//! `kubectl drain` and `kubectl uncordon`, with what they print. A file says whether the node is cordoned, and another whether a
//! pod does not end.

use super::api::FOLDER;
use std::fs;
use std::net::TcpStream;
use std::time::Duration;

pub fn run(rest: &[&str]) -> Result<(), String> {
    let ["--kubeconfig", kubeconfig, verb, node, options @ ..] = rest else {
        return Err(format!("error: unknown command {rest:?}"));
    };
    if !fs::read_to_string(kubeconfig).is_ok_and(|text| text.contains("clusters:")) {
        return Err(format!("error: stat {kubeconfig}: no such file or directory"));
    }
    if TcpStream::connect("127.0.0.1:6443").is_err() {
        return Err("The connection to the server 127.0.0.1:6443 was refused".to_owned());
    }
    let (cordoned, stuck) = (format!("{FOLDER}/cordoned"), format!("{FOLDER}/a-pod-does-not-end"));
    let is = |file: &str| fs::read_to_string(file).is_ok_and(|text| text.starts_with("yes"));
    let set = |text: &str| fs::write(&cordoned, text).map_err(|error| error.to_string());
    match *verb {
        "drain" => {
            println!("node/{node} {}cordoned", if is(&cordoned) { "already " } else { "" });
            set("yes, drained")?;
            if !options.contains(&"--ignore-daemonsets") || !options.contains(&"--delete-emptydir-data") {
                return Err(format!(
                    "error: unable to drain node \"{node}\" due to error: cannot delete DaemonSet-managed Pods"
                ));
            }
            println!("evicting pod default/web-0");
            while is(&stuck) {
                std::thread::sleep(Duration::from_secs(1));
            }
            println!("node/{node} drained");
        }
        "uncordon" => {
            println!("node/{node} {}uncordoned", if is(&cordoned) { "" } else { "already " });
            set("no")?;
        }
        _ => return Err(format!("error: unknown command {verb:?}")),
    }
    Ok(())
}
