//! Questions to an API that asks who calls, against OpenSSL's server.

use super::super::http::https::{Server, certificate, openssl, serve_files};
use super::check;
use contract::role::{KubernetesProbe, KubernetesQuestion};
use std::path::Path;
use std::time::Duration;

/// A client's certificate of its own, with a key as k3s writes it.
fn client(folder: &Path, name: &str) -> [String; 2] {
    let [cert, key] = ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")).to_str().unwrap().to_owned());
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]);
    let config = folder.join("client.cnf");
    std::fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
    let subject = format!("/O=system:nodes/CN=system:node:{name}");
    let fixed = ["req", "-x509", "-days", "2", "-key", &key, "-out", &cert, "-config", config.to_str().unwrap()];
    openssl(&[&fixed[..], &["-subj", &subject]].concat());
    [cert, key]
}

/// An API that takes nobody but the owner of `known`, and answers what the files in `folder` hold.
fn api(folder: &Path, own: &[String; 2], known: &str) -> (Server, String) {
    let more = ["-HTTP", "-quiet", "-Verify", "1", "-verify_return_error", "-CAfile", known];
    serve_files(own, &more, folder)
}

#[test]
fn an_api_that_asks_who_calls_is_told_and_nobody_else_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let own = certificate(folder.path(), "api", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (known, stranger) = (client(folder.path(), "s1"), client(folder.path(), "s2"));
    let readyz = folder.path().join("readyz?verbose");
    std::fs::write(&readyz, "HTTP/1.1 200 OK\r\n\r\n[+]ping ok\n[+]etcd ok\nreadyz check passed\n").unwrap();
    let (_server, url) = api(folder.path(), &own, &known[0]);
    let ask = |[certificate, key]: [&String; 2], ca: &String| {
        let request = KubernetesProbe {
            asks: KubernetesQuestion::Api,
            api: url.clone(),
            ca: ca.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
            node: String::new(),
        };
        check(&request, Duration::from_secs(10)).map_err(|why| format!("{why:#}"))
    };
    assert_eq!(ask([&known[0], &known[1]], &own[0]), Ok(()));
    for [certificate, key] in [[&stranger[0], &stranger[1]], [&known[0], &stranger[1]], [&stranger[0], &known[1]]] {
        let why = ask([certificate, key], &own[0]).unwrap_err();
        assert!(why.starts_with("no answer from https://127.0.0.1:"), "{why}");
    }
    assert!(ask([&known[0], &known[1]], &stranger[0]).is_err(), "somebody else's API was trusted");

    let lost = "HTTP/1.1 500 Internal Server Error\r\n\r\n[+]ping ok\n[-]etcd failed: reason withheld\n";
    std::fs::write(&readyz, lost).unwrap();
    assert_eq!(ask([&known[0], &known[1]], &own[0]).unwrap_err(), "etcd has no quorum or does not answer");
}
