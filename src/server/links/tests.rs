//! Links without a listener.

use smol::net::unix::UnixStream;

use super::*;
use crate::server::registry::testing::Cluster;

fn links(cluster: &Cluster, executor: &Executor) -> Arc<Links> {
    let folder = std::env::temp_dir().join(format!("midge-links-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let registry = Arc::clone(&cluster.registry);
    let store = registry.store().clone();
    let tokens = Arc::new(Tokens::open(&folder, [0; 32], None, store.clone()).unwrap());
    let accounts = Arc::new(Accounts::open(&folder, Arc::clone(&registry), "cluster.local").unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    let options = Options {
        cluster_cidr: "10.42.0.0/16".parse().unwrap(),
        cluster_dns: String::new(),
        cluster_domain: String::new(),
    };
    Links::new(options, registry, store, tokens, accounts, executor.clone())
}

#[test]
fn a_node_has_one_connection_that_its_address_does_not_answer_for() {
    let (cluster, executor) = (Cluster::new("links"), Executor::default());
    let links = links(&cluster, &executor);
    let places = Place::testing(3);
    let begin = async |place: &Place| {
        let (here, there) = UnixStream::pair().unwrap();
        let local = "127.0.0.1:6443".parse().unwrap();
        let admitted = admit::Admitted {
            node: "pi-1".to_owned(),
            new_key: None,
            accept: String::new(),
            peer: Peer { address: local, local },
        };
        links.begin(Box::new(here), Bytes::new(), admitted, Some(place.clone())).await;
        there
    };
    smol::block_on(executor.run(async {
        assert_eq!(places[0].counted(), 3, "one that is only admitted counts");
        let mut open = Vec::new();
        for place in &places {
            open.push(begin(place).await);
            // However many come, those that were replaced count until they are closed.
            assert_eq!(places[0].counted(), 2);
        }
    }));
    let [first, .., last] = places.as_slice() else { panic!("three") };
    assert_eq!(links.state().links.len(), 1);
    let counted = last.counted();
    first.vouch();
    assert_eq!(last.counted(), counted - 1, "it was not vouched for any more");
}
