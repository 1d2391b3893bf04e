//! Whether the server is well, as kubectl and probes ask.

use crate::server::Server;

#[test]
fn checks_by_name() {
    let server = Server::start();
    server.until_ready();
    let all = "[+]ping ok\n[+]registry ok\n[+]scheduler ok\n[+]controllers ok\n[+]shutdown ok\n";
    let said = server.kubectl("get --raw /readyz?verbose").ok();
    assert_eq!(said, format!("{all}readyz check passed\n"));
    let said = server.kubectl("get --raw /livez?verbose&exclude=registry").ok();
    assert_eq!(said, "[+]ping ok\n[+]registry excluded: ok\nlivez check passed\n");
    let said = server.kubectl("get --raw /healthz?verbose&exclude=gone").ok();
    assert!(
        said.contains("warn: some health checks cannot be excluded: no matches for \"gone\"\n"),
        "{said}"
    );
    assert_eq!(server.kubectl("get --raw /readyz/scheduler").ok(), "ok");
    assert_eq!(server.kubectl("get --raw /healthz").ok(), "ok");
    // What each check says is for those who may know.
    server.ask_as("GET", "/readyz/scheduler", &[], "").is(401);
    let answer = server.ask_as("GET", "/readyz?verbose", &[], "").is(200);
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    server.get("/readyz/gone").is(404);
    server.get("/livez/scheduler").is(404);
}
