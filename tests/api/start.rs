//! Servers that can't start say why, and leave the one that runs alone.

use midge::Executor;
use midge::server::{Config, run};

use crate::server::Server;

fn refusal(config: Config) -> String {
    let executor = Executor::default();
    let server = run(config, executor.clone(), std::future::pending(), |_| panic!("it started"));
    let error = smol::block_on(executor.run(server)).unwrap_err();
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        chain += &format!(": {error}");
        source = error.source();
    }
    chain
}

#[test]
fn what_is_in_the_way() {
    let server = Server::start();
    let mut config = Config::new(server.folder().join("data"));
    config.bind_address = "127.0.0.1".parse().unwrap();
    config.port = 0;
    config.kubeconfig = None;
    let text = refusal(config.clone());
    assert!(text.contains("is in use by another midge server") && text.contains("--data-dir"), "{text}");
    config.data_dir = server.folder().join("other");
    config.port = server.ready.address.port();
    let text = refusal(config.clone());
    assert!(text.starts_with(&format!("port {} is taken", config.port)), "{text}");
    config.port = 0;
    config.tls_san = vec!["not a name".to_owned()];
    assert!(refusal(config).contains("`not a name`"));
    server.get("/api/v1/nodes").is(200);
}

#[test]
fn the_kubeconfig_is_the_admins_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    for path in ["kubeconfig", "data/server/tls/admin-token", "data/server/tls/ca.key"] {
        let mode = std::fs::metadata(server.folder().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}
