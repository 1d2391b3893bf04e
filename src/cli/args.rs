//! What the command line takes, as argh sees it. Names are k3s's where k3s has one. Every long flag of
//! `server` and `agent` is also a `MIDGE_*` variable and a key of the configuration file: see `layers`.

use argh::{ArgsInfo, FromArgs};

/// a Kubernetes cluster that fits on a small board
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help", "help"))]
pub struct Midge {
    #[argh(subcommand)]
    pub command: Command,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
#[allow(clippy::large_enum_variant)] // there is one, for a moment
pub enum Command {
    Server(ServerArgs),
    Agent(AgentArgs),
    Status(StatusArgs),
    Token(TokenArgs),
    Check(CheckArgs),
    Registry(RegistryArgs),
    Reset(ResetArgs),
    Shutdown(ShutdownArgs),
    Version(VersionArgs),
}

/// Declares a command's arguments together with those that every command that runs a node shares.
macro_rules! node_command {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        #[derive(FromArgs, ArgsInfo)]
        $(#[$meta])*
        pub struct $name {
            $($own)*
            /// folder that holds everything midge keeps (default /var/lib/midge)
            #[argh(option, arg_name = "folder")]
            pub data_dir: Option<String>,
            /// join token, in full: K10<hash>::server:<secret>. Others can read an argument list: prefer MIDGE_TOKEN or --token-file
            #[argh(option, arg_name = "token")]
            pub token: Option<String>,
            /// file that holds the join token
            #[argh(option, arg_name = "file")]
            pub token_file: Option<String>,
            /// name of this node (default: the host's name)
            #[argh(option, arg_name = "name")]
            pub node_name: Option<String>,
            /// label KEY=VALUE that this node registers with; may be repeated
            #[argh(option, arg_name = "key=value")]
            pub node_label: Vec<String>,
            /// taint KEY=VALUE:EFFECT that this node registers with; may be repeated
            #[argh(option, arg_name = "key=value:effect")]
            pub node_taint: Vec<String>,
            /// address that this node reports (default: that of its default route)
            #[argh(option, arg_name = "ip")]
            pub node_ip: Option<String>,
            /// containerd's socket (default: the first that answers of /run/containerd/containerd.sock,
            /// /run/k3s/containerd/containerd.sock, /var/run/docker/containerd/containerd.sock)
            #[argh(option, arg_name = "socket")]
            pub container_runtime_endpoint: Option<String>,
            /// containerd's snapshotter (default overlayfs)
            #[argh(option, arg_name = "name")]
            pub snapshotter: Option<String>,
            /// registries.yaml: mirrors, credentials and certificates of image registries (default /etc/midge/registries.yaml)
            #[argh(option, arg_name = "file")]
            pub private_registry: Option<String>,
            /// percent of the disk in use above which unused images are removed (default 85; 100: never)
            #[argh(option, arg_name = "percent")]
            pub image_gc_high_threshold: Option<String>,
            /// percent of the disk in use down to which unused images are removed (default 80)
            #[argh(option, arg_name = "percent")]
            pub image_gc_low_threshold: Option<String>,
            /// resolv.conf that pods with dnsPolicy Default get (default /etc/resolv.conf)
            #[argh(option, arg_name = "file")]
            pub resolv_conf: Option<String>,
            /// folder of the node's own CNI configuration (default /etc/cni/net.d); without one midge uses its own bridge
            #[argh(option, arg_name = "folder")]
            pub cni_conf_dir: Option<String>,
            /// folder of the CNI plugins (default: /opt/cni/bin, /usr/lib/cni, /usr/libexec/cni)
            #[argh(option, arg_name = "folder")]
            pub cni_bin_dir: Option<String>,
            /// size of a container's log file at which a new one begins (default 10Mi)
            #[argh(option, arg_name = "size")]
            pub container_log_max_size: Option<String>,
            /// log files kept of a container, at least 2 (default 5)
            #[argh(option, arg_name = "number")]
            pub container_log_max_files: Option<String>,
            /// folder for sockets and namespaces, gone after a reboot (default /run/midge, or one named after the data folder)
            #[argh(option, arg_name = "folder")]
            pub run_dir: Option<String>,
            /// when pods are evicted (default memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,
            /// imagefs.available<15%,imagefs.inodesFree<5%,pid.available<10%)
            #[argh(option, arg_name = "thresholds")]
            pub eviction_hard: Option<String>,
            /// how long the node's pressure conditions stay after their cause has gone (default 5m)
            #[argh(option, arg_name = "time")]
            pub eviction_pressure_transition_period: Option<String>,
            /// processes and threads that a pod may have (default -1: no limit)
            #[argh(option, arg_name = "number")]
            pub pod_max_pids: Option<String>,
            /// how long pods have to end when this machine goes down (default 30s; 0s: they are not ended)
            #[argh(option, arg_name = "time")]
            pub shutdown_grace_period: Option<String>,
            /// the part of it that is kept for critical pods, which end last (default 10s)
            #[argh(option, arg_name = "time")]
            pub shutdown_grace_period_critical_pods: Option<String>,
            /// configuration file (default /etc/midge/config.yaml)
            // Taken by `layers` before argh sees it; it is here for the help.
            #[argh(option, short = 'c', arg_name = "file")]
            #[allow(dead_code)]
            pub config: Option<String>,
            /// log more
            #[argh(switch)]
            pub debug: bool,
        }

        impl $name {
            /// Takes out the arguments about the node itself.
            pub fn node(&mut self) -> NodeArgs {
                NodeArgs {
                    data_dir: self.data_dir.clone(),
                    token: self.token.take(),
                    token_file: self.token_file.take(),
                    node_name: self.node_name.take(),
                    node_label: std::mem::take(&mut self.node_label),
                    node_taint: std::mem::take(&mut self.node_taint),
                    node_ip: self.node_ip.take(),
                    container_runtime_endpoint: self.container_runtime_endpoint.take(),
                    snapshotter: self.snapshotter.take(),
                    private_registry: self.private_registry.take(),
                    image_gc_high_threshold: self.image_gc_high_threshold.take(),
                    image_gc_low_threshold: self.image_gc_low_threshold.take(),
                    resolv_conf: self.resolv_conf.take(),
                    cni_conf_dir: self.cni_conf_dir.take(),
                    cni_bin_dir: self.cni_bin_dir.take(),
                    container_log_max_size: self.container_log_max_size.take(),
                    container_log_max_files: self.container_log_max_files.take(),
                    run_dir: self.run_dir.take(),
                    pod_max_pids: self.pod_max_pids.take(),
                    eviction_hard: self.eviction_hard.take(),
                    eviction_pressure_transition_period: self.eviction_pressure_transition_period.take(),
                    shutdown_grace_period: self.shutdown_grace_period.take(),
                    shutdown_grace_period_critical_pods: self.shutdown_grace_period_critical_pods.take(),
                }
            }
        }
    };
}

/// The arguments about a node, of whichever command runs it.
#[derive(Default)]
pub struct NodeArgs {
    pub data_dir: Option<String>,
    pub token: Option<String>,
    pub token_file: Option<String>,
    pub node_name: Option<String>,
    pub node_label: Vec<String>,
    pub node_taint: Vec<String>,
    pub node_ip: Option<String>,
    pub container_runtime_endpoint: Option<String>,
    pub snapshotter: Option<String>,
    pub private_registry: Option<String>,
    pub image_gc_high_threshold: Option<String>,
    pub image_gc_low_threshold: Option<String>,
    pub resolv_conf: Option<String>,
    pub cni_conf_dir: Option<String>,
    pub cni_bin_dir: Option<String>,
    pub container_log_max_size: Option<String>,
    pub container_log_max_files: Option<String>,
    pub run_dir: Option<String>,
    pub pod_max_pids: Option<String>,
    pub eviction_hard: Option<String>,
    pub eviction_pressure_transition_period: Option<String>,
    pub shutdown_grace_period: Option<String>,
    pub shutdown_grace_period_critical_pods: Option<String>,
}

node_command! {
    /// run the brain: API, registry, scheduler and, unless --disable-agent, a node in the same process
    #[argh(subcommand, name = "server", help_triggers("-h", "--help"))]
    pub struct ServerArgs {
        /// do not run a node in this process
        #[argh(switch)]
        pub disable_agent: bool,
        /// address to listen on (default 0.0.0.0, all)
        #[argh(option, arg_name = "ip")]
        pub bind_address: Option<String>,
        /// port of the API and of the agents' links (default 6443)
        #[argh(option, arg_name = "port")]
        pub https_listen_port: Option<String>,
        /// address at which others reach this server (default: that of the default route)
        #[argh(option, arg_name = "ip")]
        pub advertise_address: Option<String>,
        /// further name or address for the server's certificate; may be repeated
        #[argh(option, arg_name = "name")]
        pub tls_san: Vec<String>,
        /// range of the pods' addresses (default 10.42.0.0/16); each node gets a /24
        #[argh(option, arg_name = "cidr")]
        pub cluster_cidr: Option<String>,
        /// range of the services' addresses (default 10.43.0.0/16)
        #[argh(option, arg_name = "cidr")]
        pub service_cidr: Option<String>,
        /// address of a DNS server for the pods (default: none, pods use their host's)
        #[argh(option, arg_name = "ip")]
        pub cluster_dns: Option<String>,
        /// the cluster's domain (default cluster.local)
        #[argh(option, arg_name = "domain")]
        pub cluster_domain: Option<String>,
        /// keep pods bound to nodes that are away, but for those annotated edge.midge.dev/keep-pods=false
        #[argh(switch)]
        pub keep_pods: bool,
        /// where the admin's kubeconfig is written (default /etc/midge/midge.yaml)
        #[argh(option, arg_name = "file")]
        pub write_kubeconfig: Option<String>,
        /// mode of the kubeconfig (default 0600)
        #[argh(option, arg_name = "mode")]
        pub write_kubeconfig_mode: Option<String>,
    }
}

node_command! {
    /// run a node that joins a server
    #[argh(subcommand, name = "agent", help_triggers("-h", "--help"))]
    pub struct AgentArgs {
        /// the server's address, https://HOST:6443; may be repeated, each is tried in turn
        #[argh(option, short = 's', arg_name = "url")]
        pub server: Vec<String>,
    }
}

/// say whether midge runs here, its server answers and its node is Ready; exit code 1 if not
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status", help_triggers("-h", "--help"))]
pub struct StatusArgs {
    /// wait up to so many seconds until all is well
    #[argh(option, arg_name = "seconds", default = "0")]
    pub wait: u32,
    /// folder that holds everything midge keeps (default /var/lib/midge)
    #[argh(option, arg_name = "folder")]
    pub data_dir: Option<String>,
    /// folder for sockets and namespaces (default /run/midge, or one named after the data folder)
    #[argh(option, arg_name = "folder")]
    pub run_dir: Option<String>,
    /// configuration file (default /etc/midge/config.yaml)
    // Taken by `layers` before argh sees it; it is here for the help.
    #[argh(option, short = 'c', arg_name = "file")]
    #[allow(dead_code)]
    pub config: Option<String>,
}

/// create, list, delete and rotate join tokens
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "token", help_triggers("-h", "--help"))]
pub struct TokenArgs {
    #[argh(subcommand)]
    pub command: TokenCommand,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum TokenCommand {
    Create(TokenCreateArgs),
    List(TokenListArgs),
    Delete(TokenDeleteArgs),
    Rotate(TokenRotateArgs),
}

/// make a join token and print it
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create", help_triggers("-h", "--help"))]
pub struct TokenCreateArgs {
    /// how long it admits nodes: 30m, 24h, 7d, or 0 for ever (default 24h)
    #[argh(option, arg_name = "time", default = "\"24h\".to_string()")]
    pub ttl: String,
    /// how many nodes it admits (default: any number)
    #[argh(option, arg_name = "count")]
    pub uses: Option<u32>,
    /// what it is for
    #[argh(option, arg_name = "text")]
    pub description: Option<String>,
    /// the admin's kubeconfig (default: $KUBECONFIG, then /etc/midge/midge.yaml)
    #[argh(option, arg_name = "file")]
    pub kubeconfig: Option<String>,
}

/// list the join tokens, without their secrets
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help"))]
pub struct TokenListArgs {
    /// the admin's kubeconfig (default: $KUBECONFIG, then /etc/midge/midge.yaml)
    #[argh(option, arg_name = "file")]
    pub kubeconfig: Option<String>,
}

/// delete join tokens; nodes that joined with them stay
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "delete", help_triggers("-h", "--help"))]
pub struct TokenDeleteArgs {
    /// ids as `midge token list` shows them
    #[argh(positional, arg_name = "id")]
    pub ids: Vec<String>,
    /// the admin's kubeconfig (default: $KUBECONFIG, then /etc/midge/midge.yaml)
    #[argh(option, arg_name = "file")]
    pub kubeconfig: Option<String>,
}

/// replace the server's own join token (server/token); nodes that joined stay
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "rotate", help_triggers("-h", "--help"))]
pub struct TokenRotateArgs {
    /// the admin's kubeconfig (default: $KUBECONFIG, then /etc/midge/midge.yaml)
    #[argh(option, arg_name = "file")]
    pub kubeconfig: Option<String>,
}

/// check that this machine can be a node: kernel, cgroups, containerd, CNI, clock, disk
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "check", help_triggers("-h", "--help"))]
pub struct CheckArgs {
    /// containerd's socket
    #[argh(option, arg_name = "socket")]
    pub container_runtime_endpoint: Option<String>,
    /// folder of the node's own CNI configuration (default /etc/cni/net.d)
    #[argh(option, arg_name = "folder")]
    pub cni_conf_dir: Option<String>,
    /// folder of the CNI plugins
    #[argh(option, arg_name = "folder")]
    pub cni_bin_dir: Option<String>,
    /// folder that holds everything midge keeps (default /var/lib/midge)
    #[argh(option, arg_name = "folder")]
    pub data_dir: Option<String>,
}

/// look after the registry's files
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "registry", help_triggers("-h", "--help"))]
pub struct RegistryArgs {
    #[argh(subcommand)]
    pub command: RegistryCommand,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum RegistryCommand {
    Repair(RegistryRepairArgs),
}

/// keep every undamaged record of a registry that does not open; the damaged file is kept beside it
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "repair", help_triggers("-h", "--help"))]
pub struct RegistryRepairArgs {
    /// the registry's folder (default /var/lib/midge/server/registry)
    #[argh(positional, arg_name = "folder")]
    pub folder: Option<String>,
}

/// end all pods of this machine, and take back what its node has made outside the data folder: containers, images,
/// network, control groups. midge must not run
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "reset", help_triggers("-h", "--help"))]
pub struct ResetArgs {
    /// folder that holds everything midge keeps (default /var/lib/midge); it stays
    #[argh(option, arg_name = "folder")]
    pub data_dir: Option<String>,
    /// containerd's socket
    #[argh(option, arg_name = "socket")]
    pub container_runtime_endpoint: Option<String>,
    /// folder of the CNI plugins
    #[argh(option, arg_name = "folder")]
    pub cni_bin_dir: Option<String>,
    /// the node's folder for sockets and namespaces (default /run/midge, or one named after the data folder)
    #[argh(option, arg_name = "folder")]
    pub run_dir: Option<String>,
    /// configuration file (default /etc/midge/config.yaml)
    #[argh(option, short = 'c', arg_name = "file")]
    #[allow(dead_code)]
    pub config: Option<String>,
    /// log more
    #[argh(switch)]
    pub debug: bool,
}

/// have this machine's node end its pods, critical ones last, and wait for that: for the service manager, when the machine
/// goes down. The node runs no pods until midge is started anew
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "shutdown", help_triggers("-h", "--help"))]
pub struct ShutdownArgs {
    /// folder that holds everything midge keeps (default /var/lib/midge)
    #[argh(option, arg_name = "folder")]
    pub data_dir: Option<String>,
    /// folder for sockets and namespaces (default /run/midge, or one named after the data folder)
    #[argh(option, arg_name = "folder")]
    pub run_dir: Option<String>,
    /// configuration file (default /etc/midge/config.yaml)
    // Taken by `layers` before argh sees it; it is here for the help.
    #[argh(option, short = 'c', arg_name = "file")]
    #[allow(dead_code)]
    pub config: Option<String>,
}

/// print the version
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "version", help_triggers("-h", "--help"))]
pub struct VersionArgs {}
