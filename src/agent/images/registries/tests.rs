use super::*;

fn parse(text: &str) -> Result<Registries, String> {
    Registries::parse(Path::new("r.yaml"), text).map_err(|error| error.to_string())
}

fn shown(registries: &Registries, repository: &str) -> Vec<String> {
    let endpoints = registries.endpoints(repository);
    let show = |at: &Endpoint| {
        let scheme = if at.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}{}/{}", at.host, at.port, at.prefix, at.repository)
    };
    endpoints.iter().map(show).collect()
}

#[test]
fn without_a_file() {
    let none = parse("").unwrap();
    for (repository, url) in [
        ("docker.io/library/web", "https://registry-1.docker.io:443/v2/library/web"),
        ("x.org:5000/a/b", "https://x.org:5000/v2/a/b"),
        ("localhost:5000/a", "http://localhost:5000/v2/a"),
        ("127.0.0.1/a", "http://127.0.0.1:80/v2/a"),
        ("[::1]:443/a", "https://::1:443/v2/a"),
    ] {
        assert_eq!(shown(&none, repository), [url]);
    }
}

#[test]
fn mirrors_rewrites_and_configs() {
    let file = r#"
mirrors:
  docker.io:
    endpoint: ["http://10.0.0.1:5000", "https://m.lan/v2/hub"]
    rewrite:
      "^library/(.*)": "mirror/$1"
  "*":
    endpoint:
      - https://all.lan
  y.org:
configs:
  "10.0.0.1:5000":
    auth:
      username: u
      password: p
  x.org:
    tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem}
  docker.io:
    auth: {identity_token: t}
  "localhost:5000":
    tls: {insecure_skip_verify: true}
"#;
    let file = parse(file).unwrap();
    assert_eq!(
        shown(&file, "docker.io/library/web"),
        [
            "http://10.0.0.1:5000/v2/mirror/web",
            "https://m.lan:443/v2/hub/mirror/web",
            "https://registry-1.docker.io:443/v2/library/web"
        ]
    );
    let hub = file.endpoints("docker.io/a/b");
    assert!(matches!(&hub[0].credentials, Some(Credentials::Basic { username, .. }) if username == "u"));
    assert_eq!((hub[0].mirror_of.as_deref(), hub[0].repository.as_str()), (Some("docker.io"), "a/b"));
    assert!(matches!(&hub[2].credentials, Some(Credentials::Identity(_))) && hub[2].mirror_of.is_none());
    assert_eq!(shown(&file, "x.org/a"), ["https://all.lan:443/v2/a", "https://x.org:443/v2/a"]);
    assert_eq!(shown(&file, "y.org/a"), ["https://y.org:443/v2/a"]);
    assert_eq!(shown(&file, "localhost:5000/a")[1], "https://localhost:5000/v2/a");
    let x = &file.endpoints("x.org/a")[1].trust;
    assert_eq!((x.ca_file.as_deref(), x.insecure), (Some(Path::new("/ca.pem")), false));
    assert!(!file.endpoints("x.org/a")[0].takes_secrets && hub[0].takes_secrets);
}

#[test]
fn mistakes_are_named() {
    for (text, words) in [
        ("mirrors: [a]", "`mirrors`"),
        ("mirors: {a: {}}", "`mirors`"),
        ("mirrors: {a: {endpoint: x.org}}", "`mirrors.a.endpoint`"),
        ("mirrors: {a: {endpoint: ['ftp://x']}}", "`mirrors.a.endpoint`"),
        ("mirrors: {a: {rewrite: {'(': x}}}", "`mirrors.a.rewrite`"),
        ("configs: {a: {tls: {cert_file: x}}}", "`configs.a.tls`"),
        ("configs: {a: {tls: {insecure_skip_verify: yes please}}}", "insecure_skip_verify"),
        ("configs: {a: {auth: {pasword: secret}}}", "`configs.a.auth.pasword`"),
        ("a: [", "failed to parse `r.yaml`"),
    ] {
        let error = parse(text).err().unwrap();
        assert!(error.contains(words) && !error.contains("secret"), "{text}: {error}");
    }
}
