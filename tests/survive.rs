//! What outlives a killed process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE, Machine, entries};
use common::command::eventually;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A pod that counts, several times a second.
fn counter(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, \
         containers: [{{name: main, image: '{IMAGE}', command: [sh, -c, 'n=0; while true; do n=$((n+1)); echo $n; sleep 0.1; done']}}]}}}}"
    )
}

/// The numbers that a counter's log has, which must be 1, 2, 3, …
fn counted(cluster: &Cluster, pod: &str) -> usize {
    let log = cluster.kubectl(&format!("logs {pod}")).success().stdout;
    for (at, line) in log.lines().enumerate() {
        assert_eq!(line, (at + 1).to_string(), "a line of the log is lost");
    }
    log.lines().count()
}

fn identity(cluster: &Cluster, pod: &str) -> (String, String, i64) {
    let pod = cluster.object(&format!("pod {pod}")).unwrap();
    let container = &pod["status"]["containerStatuses"][0];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
    (
        text(&pod["metadata"]["uid"]),
        text(&container["containerID"]),
        container["restartCount"].as_i64().unwrap(),
    )
}

#[test]
fn an_agent_that_is_killed_finds_its_pods_again() {
    let mut cluster = Cluster::new("agentkill").agent("pi-1").up();
    cluster.apply(&counter("counter")).success();
    cluster.phase("counter", "Running");
    let before = identity(&cluster, "counter");
    let pids = cluster.agents[0].ctr("tasks ls");
    cluster.agents[0].midge.as_mut().unwrap().kill();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.agents[0].ctr("tasks ls"), pids, "the container did not go on without its agent");

    cluster.start_agent(0);
    let cluster = cluster.up();
    eventually("the log is served again", Duration::from_secs(10), || {
        (cluster.kubectl("logs counter").code == Some(0)).then_some(())
    });
    eventually("it counts on", Duration::from_secs(10), || (counted(&cluster, "counter") > 20).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(identity(&cluster, "counter"), before);
    assert_eq!(cluster.agents[0].ctr("tasks ls"), pids);
    cluster.kubectl("delete pod counter --timeout=30s").success();
}

/// A pod's containers share one shim, that of its first one.
#[test]
fn a_killed_agent_leaves_a_container_alone_whose_pods_first_one_is_gone() {
    let mut cluster = Cluster::new("firstgone").agent("pi-1").up();
    let brief = format!("name: brief, image: '{IMAGE}', command: [sleep, '1']}}, {{name: main");
    let pod = counter("pair").replace("name: main", &brief);
    cluster.apply(&pod).success();
    let status = |cluster: &Cluster, name: &str| {
        let pod = cluster.object("pod pair")?;
        pod["status"]["containerStatuses"].as_array()?.iter().find(|one| one["name"] == name).cloned()
    };
    eventually("the first container has started again", Duration::from_secs(20), || {
        (status(&cluster, "brief")?["restartCount"].as_i64()? > 0).then_some(())
    });
    let before = status(&cluster, "main").unwrap();
    cluster.agents[0].midge.as_mut().unwrap().kill();
    cluster.start_agent(0);
    let cluster = cluster.up();
    // It looks for what is lost at once, and once more after five seconds.
    std::thread::sleep(Duration::from_secs(8));
    let after = status(&cluster, "main").unwrap();
    assert_eq!((&after["containerID"], &after["restartCount"]), (&before["containerID"], &0.into()));
    let id = before["containerID"].as_str().unwrap().trim_start_matches("containerd://");
    let tasks = cluster.agents[0].ctr("tasks ls");
    assert!(tasks.lines().any(|task| task.contains(id) && task.contains("RUNNING")), "{tasks}");
    cluster.kubectl("delete pod pair --timeout=30s").success();
}

#[test]
fn a_server_that_is_killed_has_everything_again() {
    let mut cluster = Cluster::new("serverkill").agent("pi-1").up();
    cluster.apply(&counter("counter")).success();
    cluster.phase("counter", "Running");
    cluster.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: kept}, data: {a: b}}").success();
    let before = identity(&cluster, "counter");
    let version = cluster.object("configmap kept").unwrap()["metadata"]["resourceVersion"].clone();

    cluster.server.midge.as_mut().unwrap().kill();
    cluster.start_server(&["--disable-agent"]);
    let kept = cluster.object("configmap kept").unwrap();
    assert_eq!((&kept["data"]["a"], &kept["metadata"]["resourceVersion"]), (&"b".into(), &version));
    let old = version.as_str().unwrap();
    let watched = cluster.kubectl(&format!(
        "get --raw /api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=2&resourceVersion={old}"
    ));
    watched.says(&["410"]);

    eventually("the agent is linked again by itself", Duration::from_secs(15), || {
        (cluster.kubectl("logs counter").code == Some(0)).then_some(())
    });
    assert_eq!(identity(&cluster, "counter"), before);
    // The link works both ways.
    cluster.apply(&counter("second")).success();
    cluster.phase("second", "Running");
    cluster.kubectl("delete pods --all --timeout=30s").success();
}

#[test]
fn containerd_may_restart_under_running_pods() {
    let mut cluster = Cluster::new("ctrdkill").agent("pi-1").up();
    cluster.apply(&counter("counter")).success();
    cluster.phase("counter", "Running");
    let before = identity(&cluster, "counter");
    cluster.agents[0].restart_containerd();
    cluster.apply(&counter("second")).success();
    cluster.phase("second", "Running");
    assert_eq!(identity(&cluster, "counter"), before);
    let so_far = counted(&cluster, "counter");
    eventually("it counts on", Duration::from_secs(10), || {
        (counted(&cluster, "counter") > so_far + 5).then_some(())
    });
    cluster.kubectl("delete pods --all --timeout=30s").success();
}

/// Whether there is anything in a folder: below the machine's, its containerd's, or `/`. `*` is any name.
fn filled(machine: &Machine, pattern: &str) -> bool {
    let containerd = machine.containerd.as_ref().unwrap().folder();
    let (root, path) = match pattern.split_once(':') {
        Some(("containerd", path)) => (containerd, path),
        Some((_, path)) => (machine.folder.as_path(), path),
        None => (Path::new("/"), pattern),
    };
    let mut found = vec![root.to_path_buf()];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        found = match part {
            "*" => found.iter().flat_map(|folder| entries(folder)).collect(),
            name => found.iter().map(|folder| folder.join(name)).collect(),
        };
    }
    // host-local's own two files stay.
    let own = |path: &PathBuf| path.ends_with("lock") || path.ends_with("last_reserved_ip.0");
    found.iter().flat_map(|folder| entries(folder)).any(|path| !own(&path))
}

#[test]
fn an_agent_that_is_killed_at_an_awkward_moment_goes_on_from_there() {
    // Each is the trace of a step that has begun or has just been done.
    let starting = [
        "machine:data/agent/pods",
        "machine:run/netns",
        "machine:run/cni",
        "machine:run/leases/*",
        "machine:data/agent/pods/*/logs",
        "containerd:state/io.containerd.runtime.v2.task/OWN",
        "/run/containerd/runc/OWN",
        "CGROUP/OWN/*/*",
    ];
    // The other way round: it is gone.
    let ending = [
        "CGROUP/OWN/*/*",
        "/run/containerd/runc/OWN",
        "containerd:state/io.containerd.runtime.v2.task/OWN",
        "machine:run/leases/*",
        "machine:run/cni",
        "machine:run/netns",
        "machine:data/agent/pods/*",
        "machine:data/agent/pods",
    ];
    let mut cluster = Cluster::new("awkward").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    let own = cluster.agents[0].own_name();
    let version_1 = Path::new("/sys/fs/cgroup/pids").exists();
    let cgroup = if version_1 { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    let moments = |list: &[&str]| -> Vec<String> {
        list.iter().map(|path| path.replace("OWN", &own).replace("CGROUP", cgroup)).collect()
    };
    let (starting, ending) = (moments(&starting), moments(&ending));
    let apply = |cluster: &mut Cluster, name: &str, moment: &str| {
        println!("-- {name}: {moment}");
        let mut command = cluster.kubectl_command("apply -f -");
        let mut kubectl = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        kubectl.stdin.take().unwrap().write_all(counter(name).as_bytes()).unwrap();
        cluster.agents[0].kill_when(moment, |machine| filled(machine, moment));
        assert!(kubectl.wait().unwrap().success());
    };
    // The archive of images is imported when the agent starts.
    let has_image = |cluster: &Cluster| cluster.agents[0].ctr("images ls -q").contains(IMAGE).then_some(());
    eventually("the image is imported", Duration::from_secs(20), || has_image(&cluster));
    cluster.agents[0].midge.as_mut().unwrap().kill();
    cluster.agents[0].ctr(&format!("images rm --sync {IMAGE}"));
    cluster.start_agent(0);
    let importing = "containerd:root/io.containerd.content.v1.content/ingest";
    cluster.agents[0].kill_when(importing, |machine| filled(machine, importing));
    cluster.start_agent(0);
    eventually("the import is begun anew", Duration::from_secs(20), || has_image(&cluster));

    for (round, start) in starting.iter().enumerate() {
        // It goes on with what it had begun.
        let name = format!("kept-{round}");
        apply(&mut cluster, &name, start);
        cluster.start_agent(0);
        cluster.phase(&name, "Running");
        let (_, container, restarts) = identity(&cluster, &name);
        assert_eq!(restarts, 0, "{start}");
        let tasks = cluster.agents[0].ctr("tasks ls -q");
        assert_eq!(tasks.trim(), container.trim_start_matches("containerd://"), "{start}");
        eventually("it counts", Duration::from_secs(10), || (counted(&cluster, &name) > 0).then_some(()));

        let end = &ending[round % ending.len()];
        println!("-- {name}: no more of {end}");
        let mut delete = cluster.kubectl_command(&format!("delete pod {name} --timeout=40s"));
        let mut delete = delete.stdout(Stdio::null()).spawn().unwrap();
        cluster.agents[0].kill_when(end, |machine| !filled(machine, end));
        cluster.start_agent(0);
        assert!(delete.wait().unwrap().success(), "{end}");
        cluster.agents[0].assert_nothing_left(&before);

        // Nobody wants it any more when it comes back.
        let name = format!("dropped-{round}");
        apply(&mut cluster, &name, start);
        cluster.kubectl(&format!("delete pod {name} --wait=false")).success();
        cluster.start_agent(0);
        cluster.kubectl(&format!("wait --for=delete pod/{name} --timeout=40s")).success();
        cluster.agents[0].assert_nothing_left(&before);
    }
}

#[test]
fn a_fast_writer_loses_no_line_while_there_is_no_agent() {
    let mut cluster = Cluster::new("writer").agent("pi-1").up();
    let script = "sleep 1; exec seq 1 300000";
    let writer = counter("writer").replace("containers:", "restartPolicy: Never, containers:");
    let (before, after) = writer.split_once("command: ").unwrap();
    let _ = after;
    cluster.apply(&format!("{before}command: [sh, -c, '{script}']}}]}}}}")).success();
    cluster.phase("writer", "Running");
    std::thread::sleep(Duration::from_secs(1));
    cluster.agents[0].midge.as_mut().unwrap().kill();
    std::thread::sleep(Duration::from_secs(1));
    cluster.start_agent(0);
    cluster.phase("writer", "Succeeded");
    assert_eq!(counted(&cluster, "writer"), 300_000);
}
