//! Pods from kubectl's view: made, reached, read, ended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::{Answer, eventually};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

/// A pod of two containers: one serves HTTP, the other asks it on localhost and says what it got.
fn pair(name: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: pair}}}}
spec:
  terminationGracePeriodSeconds: 3
  containers:
  - name: web
    image: {IMAGE}
    command: [sh, -c, 'mkdir /www; echo "served by $HOSTNAME" > /www/index.html; exec httpd -f -p 80 -h /www']
    resources: {{requests: {{cpu: 50m, memory: 8Mi}}, limits: {{memory: 32Mi}}}}
  - name: ask
    image: {IMAGE}
    command: [sh, -c, 'n=0; while true; do n=$((n+1)); echo "$n $(wget -qO- http://localhost)"; sleep 0.5; done']
"#
    )
}

fn single(name: &str, script: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, {rest} \
         containers: [{{name: main, image: '{IMAGE}', command: [sh, -c, '{script}']}}]}}}}"
    )
}

#[test]
fn a_pod_runs_is_reached_read_and_leaves_nothing() {
    let cluster = Cluster::new("pods").agent("pi-1").up();
    let host = &cluster.agents[0].host;
    let before = host.interfaces();

    let mut watch = cluster
        .kubectl_command("get pods -o wide -w")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    cluster.apply(&pair("pair")).success().says(&["pod/pair created"]);
    let pod = cluster.phase("pair", "Running");
    let ip = pod["status"]["podIP"].as_str().unwrap().to_string();
    cluster.kubectl("wait --for=condition=Ready pod/pair --timeout=20s").success();

    // What the watch showed on the way.
    let mut seen = String::new();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    while !(seen.contains("Running") && seen.contains(&ip)) {
        seen.push_str(&lines.next().unwrap().unwrap());
        seen.push('\n');
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(seen.contains("Pending") && seen.contains("pi-1"), "{seen}");
    cluster.kubectl("get pods").success().says(&["2/2", "Running"]);

    // localhost, and another pod by IP.
    eventually("the containers reach each other", Duration::from_secs(10), || {
        cluster.kubectl("logs pair -c ask").stdout.contains("served by pair").then_some(())
    });
    cluster.apply(&single("asker", &format!("wget -qO- http://{ip}"), "restartPolicy: Never,")).success();
    cluster.phase("asker", "Succeeded");
    cluster.kubectl("logs asker").success().says(&["served by pair"]);
    cluster.kubectl("get pod asker").says(&["Completed"]);

    // The outside, by the node's address: the server's host has no way back to a pod's.
    let outside = format!("nc -w 5 {} 6443 < /dev/null && echo reached", cluster.server.host.address);
    cluster.apply(&single("outside", &outside, "restartPolicy: Never,")).success();
    cluster.phase("outside", "Succeeded");
    cluster.kubectl("delete pod outside --timeout=30s").success();

    // Both containers of a pod share one shim; there is no pause container.
    let tasks = cluster.agents[0].ctr("tasks ls -q");
    assert_eq!(tasks.lines().count(), 2, "{tasks}");

    cluster.kubectl("describe pod pair").success().says(&[
        "Scheduled",
        "Pulled",
        "Created",
        "Started",
        "QoS Class:",
        "Burstable",
        "Container ID:",
        "containerd://",
    ]);

    cluster.kubectl("delete pod pair asker --timeout=30s").success();
    assert!(cluster.object("pod pair").is_none());
    cluster.agents[0].assert_nothing_left(&before);
}

#[test]
fn logs_with_every_flag() {
    let cluster = Cluster::new("logs").agent("pi-1").up();
    let script = "echo one; echo two >&2; sleep 2; echo three; exit 3";
    cluster.apply(&single("talker", script, "")).success();
    let logs = |flags: &str| cluster.kubectl(&format!("logs talker {flags}"));

    // -f ends with the container.
    cluster.phase("talker", "Running");
    let followed = logs("-f").success();
    assert_eq!(followed.stdout, "one\ntwo\nthree\n");

    eventually("the container ran again", Duration::from_secs(30), || {
        let pod = cluster.object("pod talker")?;
        (pod["status"]["containerStatuses"][0]["restartCount"].as_i64()? >= 1).then_some(())
    });
    let pod = cluster.object("pod talker").unwrap();
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((last["exitCode"].as_i64(), last["reason"].as_str()), (Some(3), Some("Error")), "{last}");
    assert_eq!(logs("--previous").success().stdout, "one\ntwo\nthree\n");
    assert_eq!(logs("--previous --tail=2").success().stdout, "two\nthree\n");
    assert_eq!(logs("--previous --tail=0").success().stdout, "");
    assert_eq!(logs("--previous --limit-bytes=5").success().stdout, "one\nt");
    let stamped = logs("--previous --timestamps").success().stdout;
    for line in stamped.lines() {
        let (stamp, _) = line.split_once(' ').unwrap();
        assert!(stamp.len() >= 20 && stamp.contains('T') && stamp.ends_with('Z'), "{line}");
    }
    let third = stamped.lines().nth(2).unwrap().split_once(' ').unwrap().0;
    assert_eq!(logs(&format!("--previous --since-time={third}")).success().stdout, "three\n");
    assert_eq!(logs("--previous --since=1h").success().stdout, "one\ntwo\nthree\n");
    logs("-c nobody").refused(1, &["nobody"]);
    cluster.kubectl("logs nobody").refused(1, &["NotFound"]);
}

#[test]
fn restarts_back_off_and_exit_codes_are_told() {
    let cluster = Cluster::new("restarts").agent("pi-1").up();
    cluster.apply(&single("fails", "exit 7", "restartPolicy: Never,")).success();
    cluster.apply(&single("crashes", "exit 1", "")).success();
    cluster.apply(&single("missing", "true", "").replace(IMAGE, "localhost/nothing:1")).success();
    let failed = cluster.phase("fails", "Failed");
    assert_eq!(failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 7);
    eventually("the crashing pod backs off", Duration::from_secs(20), || {
        cluster.kubectl("get pod crashes").stdout.contains("CrashLoopBackOff").then_some(())
    });
    eventually("the missing image is named", Duration::from_secs(20), || {
        let shown = cluster.kubectl("get pod missing").stdout;
        (shown.contains("ErrImagePull") || shown.contains("ImagePullBackOff")).then_some(())
    });
    cluster.kubectl("describe pod missing").success().says(&[
        "localhost/nothing:1",
        "ErrImagePull",
        "refused",
    ]);
    let restarts = || {
        let pod = cluster.object("pod crashes").unwrap();
        pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap()
    };
    eventually("the second restart", Duration::from_secs(15), || (restarts() >= 1).then_some(()));
    cluster.kubectl("delete pods --all --timeout=30s").success();
}

#[test]
fn a_pod_that_fits_nowhere_says_why() {
    let cluster = Cluster::new("nowhere").agent("pi-1").up();
    let unplaced = [
        (
            "big",
            "containers: [{name: a, image: x, resources: {requests: {memory: 999Gi}}}]",
            "Insufficient memory",
        ),
        ("picky", "nodeSelector: {disk: ssd}, containers: [{name: a, image: x}]", "node affinity/selector"),
    ];
    for (name, spec, reason) in unplaced {
        cluster
            .apply(&format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{{spec}}}}}"))
            .success();
        eventually(reason, Duration::from_secs(10), || {
            let events = cluster.kubectl(&format!("describe pod {name}")).stdout;
            (events.contains("FailedScheduling") && events.contains(reason) && events.contains("0/1 nodes"))
                .then_some(())
        });
        assert_eq!(cluster.object(&format!("pod {name}")).unwrap()["status"]["phase"], "Pending");
    }
    // A label makes the picky pod fit.
    cluster.kubectl("label node pi-1 disk=ssd").success();
    eventually("the pod is placed", Duration::from_secs(10), || {
        (cluster.object("pod picky")?["spec"]["nodeName"] == "pi-1").then_some(())
    });
    cluster.kubectl("taint node pi-1 dedicated=me:NoSchedule").success();
    cluster.kubectl("cordon pi-1").success();
    cluster.apply(&single("late", "sleep 100", "")).success();
    eventually("cordon and taint keep it away", Duration::from_secs(10), || {
        cluster.kubectl("describe pod late").stdout.contains("1 node(s)").then_some(())
    });
    cluster.kubectl("taint node pi-1 dedicated-").success();
    cluster.kubectl("uncordon pi-1").success();
    cluster.phase("late", "Running");
}

#[test]
fn the_grace_period_is_kept() {
    let cluster = Cluster::new("grace").agent("pi-1").up();
    let stubborn = single("stubborn", "trap \"\" TERM; while true; do sleep 1; done", "");
    cluster
        .apply(&stubborn.replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 4"))
        .success();
    let polite =
        single("polite", "trap \"echo bye; exit 0\" TERM; echo up; while true; do sleep 0.1; done", "");
    cluster
        .apply(&polite.replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 30"))
        .success();
    cluster.phase("stubborn", "Running");
    cluster.phase("polite", "Running");
    eventually("the trap is set", Duration::from_secs(5), || {
        cluster.kubectl("logs polite").stdout.contains("up").then_some(())
    });
    let delete = |name: &str| {
        let start = std::time::Instant::now();
        Answer::of(&mut cluster.kubectl_command(&format!("delete pod {name} --timeout=60s"))).success();
        start.elapsed()
    };
    let took = delete("polite");
    assert!(took < Duration::from_secs(10), "a pod that ends at SIGTERM took {took:?}");
    let took = delete("stubborn");
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let cluster = Cluster::new("refused");
    let manifest = single("x", "true", "runtimeClassName: kata,");
    cluster.apply(&manifest).refused(1, &["runtimeClassName", "not supported"]);
    let typo = single("x", "true", "restartPolice: Never,");
    cluster.apply(&typo).refused(1, &["unknown field", "restartPolice"]);
    cluster.kubectl("get certificatesigningrequests").refused(1, &["certificatesigningrequests"]);
}

#[test]
fn a_container_over_its_memory_limit_is_killed_and_starts_again() {
    let cluster = Cluster::new("oom").agent("pi-1").up();
    // tail keeps a line that never ends in memory.
    let eater = single("eater", "sleep 1; tail /dev/zero", "");
    let limited = eater.replace("name: main,", "name: main, resources: {limits: {memory: 16Mi}},");
    cluster.apply(&limited).success();
    let last = eventually("it is killed and starts again", Duration::from_secs(30), || {
        let status = cluster.object("pod eater")?["status"]["containerStatuses"][0].clone();
        let restarted = status["restartCount"].as_i64()? >= 1 && status["state"]["running"].is_object();
        restarted.then(|| status["lastState"]["terminated"].clone())
    });
    assert_eq!((&last["reason"], &last["exitCode"]), (&"OOMKilled".into(), &137.into()), "{last}");

    // The shell outlives its child: only the container's own end is one for want of memory.
    let survivor = single("survivor", "sleep 1; tail /dev/zero; echo went on with $?; sleep 100", "");
    let limited = survivor.replace("name: main,", "name: main, resources: {limits: {memory: 16Mi}},");
    cluster.apply(&limited).success();
    eventually("the shell goes on", Duration::from_secs(20), || {
        cluster.kubectl("logs survivor").stdout.contains("went on with 137").then_some(())
    });
    cluster.kubectl("delete pods --all --timeout=30s").success();
}

#[test]
fn a_pods_names_and_namespaces_are_what_it_asks_for() {
    let cluster = Cluster::new("names").agent("pi-1").up();
    let host = &cluster.agents[0].host.address;
    let script = "hostname; cat /etc/hostname; ip addr show eth0; echo $GREETING";
    let env = "env: [{name: WHO, value: you}, {name: GREETING, value: 'hello $(WHO) $$(WHO) $(NOBODY)'}], ";
    let with_env = |pod: String| pod.replace("name: main,", &format!("name: main, {env}"));
    let never = "restartPolicy: Never,";
    cluster.apply(&with_env(single("own", script, &format!("{never} hostname: board,")))).success();
    cluster.apply(&with_env(single("hosts", script, &format!("{never} hostNetwork: true,")))).success();
    let own = cluster.phase("own", "Succeeded");
    let ip = own["status"]["podIP"].as_str().unwrap();
    assert_ne!(ip, host);
    cluster.kubectl("logs own").success().says(&["board\nboard\n", ip, "hello you $(WHO) $(NOBODY)\n"]);
    let hosts = cluster.phase("hosts", "Succeeded");
    assert_eq!(hosts["status"]["podIP"], host.as_str());
    cluster.kubectl("logs hosts").success().says(&[&format!("inet {host}/24")]);
}

#[test]
fn output_is_kept_as_it_was_written() {
    let cluster = Cluster::new("output").agent("pi-1").up();
    let never = "restartPolicy: Never,";
    // A line of 50,001 bytes, what is no text, the two streams in turn, and one that is closed early.
    let long = "head -c 50000 /dev/zero | tr \"\\\\0\" x; echo y";
    cluster.apply(&single("long", long, never)).success();
    cluster
        .apply(&single("binary", "printf \"\\\\000\\\\377\\\\200\\\\033[0m\\\\r\\\\nend\"", never))
        .success();
    let turns =
        "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo out $i; sleep 0.3; echo err $i >&2; sleep 0.3; done";
    cluster.apply(&single("turns", turns, never)).success();
    cluster.apply(&single("closes", "echo first; exec >&-; sleep 1; echo last >&2; exit 3", never)).success();
    let bytes = |pod: &str| {
        let output = cluster.kubectl_command(&format!("logs {pod}")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for pod in ["long", "binary", "turns"] {
        cluster.phase(pod, "Succeeded");
    }
    assert_eq!(bytes("long"), [vec![b'x'; 50_000], b"y\n".to_vec()].concat());
    // The log is one of lines: the last one gets its end.
    assert_eq!(bytes("binary"), b"\x00\xff\x80\x1b[0m\r\nend\n");
    let lines: String = (1..=5).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(String::from_utf8(bytes("turns")).unwrap(), lines);
    let closed = cluster.phase("closes", "Failed");
    assert_eq!(closed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    assert_eq!(bytes("closes"), b"first\nlast\n");
}

#[test]
fn a_pod_without_a_network_leaves_nothing_and_starts_when_there_is_one() {
    let mut cluster = Cluster::new("noaddress");
    let machine = cluster.machine("pi-1", true);
    // Room for one pod beside the gateway.
    let network = format!(
        r#"{{"cniVersion":"0.4.0","name":"own","plugins":[{{"type":"bridge","bridge":"own0","isGateway":true,
            "ipam":{{"type":"host-local","dataDir":"{}/leases","ranges":[[{{"subnet":"10.88.0.0/30"}}]]}}}}]}}"#,
        machine.folder.display()
    );
    std::fs::write(machine.folder.join("cni/10-own.conflist"), network).unwrap();
    cluster.agents.push(machine);
    cluster.start_agent(0);
    let cluster = cluster.up();
    cluster.apply(&single("first", "sleep 1000", "")).success();
    cluster.phase("first", "Running");
    cluster.apply(&single("second", "echo up; sleep 1000", "")).success();
    eventually("it says that it gets no address", Duration::from_secs(20), || {
        cluster.kubectl("describe pod second").stdout.contains("no IP addresses available").then_some(())
    });
    let machine = &cluster.agents[0];
    // It is tried again now and then; in between there is nothing of it.
    eventually("nothing of it is left", Duration::from_secs(10), || {
        let one = |line: &str| machine.ctr(line).lines().count() == 1;
        let pinned = std::fs::read_dir(machine.folder.join("run/netns")).unwrap().count();
        let active = machine.ctr("snapshots ls").matches("Active").count();
        (one("tasks ls -q") && one("containers ls -q") && pinned == 1 && active == 1).then_some(())
    });
    cluster.kubectl("delete pod first --timeout=30s").success();
    let second = cluster.phase("second", "Running");
    assert_eq!(second["status"]["containerStatuses"][0]["restartCount"], 0);
    cluster.kubectl("logs second").success().says(&["up"]);
    cluster.kubectl("delete pod second --timeout=30s").success();
}
