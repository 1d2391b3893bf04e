//! Jobs that are suspended and resumed at any moment.

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Never more pods than may run, never two for one index.
fn assert_bounds(cluster: &Cluster, parallelism: usize, round: usize) {
    let active: Vec<&Object> = cluster.pods.iter().filter(|pod| pods::is_active(pod)).collect();
    assert!(active.len() <= parallelism, "round {round}: {} of {parallelism}", active.len());
    let indexes: Vec<&str> = active.iter().filter_map(|pod| pod.annotation(INDEX)).collect();
    let different: BTreeSet<&&str> = indexes.iter().collect();
    assert_eq!(different.len(), indexes.len(), "round {round}: {indexes:?}");
}

/// Ends one of the pods that have not ended; true if it failed.
fn end_one(cluster: &mut Cluster, random: &mut Random) -> bool {
    let running = cluster.pods.iter().filter(|pod| !pods::has_ended(pod));
    let running: Vec<String> = running.map(|pod| pod.name().to_owned()).collect();
    if running.is_empty() {
        return false;
    }
    let name = &running[random.below(running.len())];
    // What is told to end does so with an error.
    let fails = cluster.pod(name).deletion_timestamp().is_some() || random.below(2) == 0;
    match fails {
        true => cluster.end(name, "Failed", 143),
        false => cluster.end(name, "Succeeded", 0),
    }
    fails
}

#[test]
fn suspended_and_resumed_jobs_come_to_their_end() {
    let mut random = Random(3);
    for round in 0..100 {
        let (completions, parallelism) = (1 + random.below(6), 1 + random.below(4));
        let mode = if round % 2 == 0 { "Indexed" } else { "NonIndexed" };
        let mut spec = json!({"completions": completions, "parallelism": parallelism, "backoffLimit": 10_000,
            "completionMode": mode, "suspend": random.below(2) == 0});
        if random.below(3) == 0 {
            spec["podReplacementPolicy"] = "Failed".into();
        }
        let mut cluster = Cluster::new(spec);
        let mut failures = 0;
        for _ in 0..200 {
            match random.below(10) {
                0..5 => drop(cluster.step(random.below(4))),
                5 => cluster.now += 400,
                6 => {
                    let suspended = cluster.job.bool_at("/spec/suspend");
                    cluster.job.set("/spec/suspend", !suspended);
                }
                _ => failures += i64::from(end_one(&mut cluster, &mut random)),
            }
            assert_bounds(&cluster, parallelism, round);
        }
        if finished(&cluster.job).is_none() {
            cluster.job.set("/spec/suspend", true);
            cluster.settle();
            let ends = condition(&cluster.job, "SuccessCriteriaMet").is_some();
            assert!(cluster.active().is_empty() && (ends || condition(&cluster.job, "Suspended").is_some()));
        }
        cluster.job.set("/spec/suspend", false);
        for _ in 0..completions + 200 {
            if finished(&cluster.job).is_some() && cluster.pods.iter().all(pods::has_ended) {
                break;
            }
            cluster.now += 400;
            cluster.settle();
            assert_bounds(&cluster, parallelism, round);
            failures += i64::from(end_one(&mut cluster, &mut random));
        }
        cluster.settle();
        let end = finished(&cluster.job).unwrap_or_else(|| panic!("round {round}: {:?}", cluster.job));
        assert_eq!(end["type"], "Complete", "round {round}");
        assert_eq!(cluster.status("succeeded"), i64::try_from(completions).unwrap(), "round {round}");
        // Pods that went since the Job was suspended have not failed.
        assert!(
            cluster.status("failed") <= failures,
            "round {round}: {} > {failures}",
            cluster.status("failed")
        );
        assert!(cluster.pods.iter().all(|pod| !is_tracked(pod)), "round {round}");
    }
}
