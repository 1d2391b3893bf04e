use super::*;

fn listener() -> Changes {
    changes().unwrap()
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((HEADER as u32 + body.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

fn link(index: u32, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend([0; 4]);
    for (kind, value) in attributes {
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    message(NEWLINK, &body)
}

#[test]
fn an_interface_is_news_when_its_state_changes() {
    let mut changes = listener();
    assert!(changes.take_in(&link(2, IFF_UP, &[(IFLA_IFNAME, b"eth0\0")])));
    assert!(!changes.take_in(&link(2, IFF_UP, &[(IFLA_IFNAME, b"eth0\0")])));
    assert!(changes.take_in(&link(2, IFF_UP | IFF_RUNNING, &[(IFLA_IFNAME, b"eth0\0")])));
}

#[test]
fn pods_interfaces_are_not() {
    let mut changes = listener();
    assert!(!changes.take_in(&link(7, IFF_UP, &[(IFLA_IFNAME, b"veth1a2b3c4d\0")])));
    assert!(!changes.take_in(&link(
        8,
        IFF_UP,
        &[(IFLA_IFNAME, b"anything\0"), (IFLA_MASTER, &3u32.to_ne_bytes())]
    )));
    let mut both = link(8, 0, &[(IFLA_MASTER, &3u32.to_ne_bytes())]);
    both.extend(link(9, IFF_UP, &[(IFLA_IFNAME, b"wlan0\0")]));
    assert!(changes.take_in(&both), "the second message of a datagram counts");
}

#[test]
fn routes_of_the_main_table_are_news() {
    let mut changes = listener();
    let default = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    assert!(changes.take_in(&message(NEWROUTE, &default)));
    let local = [2, 32, 0, 0, 255, 2, 254, 2, 0, 0, 0, 0];
    assert!(!changes.take_in(&message(DELROUTE, &local)));
    let mut link_local = vec![10, 64, 0, 0, 254, 2, 0, 1, 0, 0, 0, 0, 20, 0, 1, 0, 0xfe, 0x80];
    link_local.resize(32, 0);
    assert!(!changes.take_in(&message(NEWROUTE, &link_local)));
}

#[test]
fn cut_or_lying_messages_are_passed_over() {
    let mut changes = listener();
    let whole = link(2, IFF_UP, &[(IFLA_IFNAME, b"eth0\0")]);
    for length in 0..whole.len() {
        assert!(!changes.take_in(&whole[..length]));
    }
    assert!(!changes.take_in(&[0; 64]));
    let mut body = vec![0; LINK_BODY];
    body.extend([1, 0, 0, 0]); // an attribute shorter than its own header
    changes.take_in(&message(NEWLINK, &body));
}
