//! The load on a cluster, placed: proxies, poolers and clients on the host `app-1`, and clients on the members' hosts.

use std::sync::Arc;

use sim_core::{Distribution, HostId, ProcessId, ProcessOptions, SimDuration, WorldBuilder};

use super::RestPath;
use super::cluster::{ClusterProcess, ClusterSpec, Plan};
use super::dcs::Keys;
use super::load::{ClientSettings, ImpatientClient, ProxySettings, ReadFrom, Reads, Route};
use super::member::Peer;
use super::system::Disk;
use crate::postgres::SynchronousCommit;
use crate::routing::{
    ApplicationSpec, Balance, ConfdSpec, ConfigurationFile, HaProxySpec, HostName, MultiHostClientSpec,
    OnTimeout, ProxyServer, ServiceSpec, StatementTimeout, StickyClientSpec, Work, Workload,
};

/// Adds proxies and clients to a world.
pub(super) struct Clients<'a> {
    pub(super) builder: &'a mut WorldBuilder<ClusterProcess>,
    pub(super) plan: &'a Plan,
    pub(super) members: &'a Arc<[Peer]>,
    pub(super) api_servers: &'a Arc<[ProcessId]>,
    pub(super) app: HostId,
    pub(super) etcd: &'a Arc<[ProcessId]>,
    pub(super) name_server: Option<ProcessId>,
    /// Clients so far: each writes values of its own.
    pub(super) number: u32,
}

impl Clients<'_> {
    /// Returns the clients that may go to any server, and those on the members' hosts, if there are any.
    pub(super) fn add(
        &mut self,
        member_hosts: &[HostId],
        addresses: Option<(ProcessId, ProcessId)>,
    ) -> (Vec<ProcessId>, Vec<ProcessId>) {
        let (mut clients, mut local_clients) = (Vec::new(), Vec::new());
        let load = self.plan.load;
        for index in 0..load.writers {
            let level = if index < load.local_commit_writers {
                SynchronousCommit::Local
            } else {
                self.plan.configuration.synchronous_commit
            };
            let workload = self.workload(Work::Write(level));
            let spec = self.client(workload, addresses.map(|(primary, _)| primary), load.write_interval);
            clients.push(self.add_process(&format!("client-{}", index + 1), self.app, spec));
        }
        for index in 0..load.readers {
            let workload = self.workload(match load.reads {
                Reads::Count => Work::Count,
                Reads::Newest => Work::Newest,
            });
            let reads_primary = match load.read_from {
                ReadFrom::Replicas => false,
                ReadFrom::Primary => true,
                ReadFrom::Everywhere => index % 2 == 0,
            };
            let address = addresses.map(|(primary, replicas)| if reads_primary { primary } else { replicas });
            let spec = self.client(workload, address, load.read_interval);
            clients.push(self.add_process(&format!("client-{}", load.writers + index + 1), self.app, spec));
        }
        if load.local_writers {
            for (peer, host) in self.members.iter().zip(member_hosts) {
                let workload = self.workload(Work::Write(self.plan.configuration.synchronous_commit));
                let mut spec = StickyClientSpec::new(workload, peer.postgres);
                spec.interval = load.write_interval;
                let name = format!("local-client-{}", peer.member.0 + 1);
                local_clients.push(self.add_process(&name, *host, ClusterSpec::StickyClient(spec)));
            }
        }
        (clients, local_clients)
    }

    /// Where clients connect to for the primary and for replicas; none if they connect to the servers themselves.
    pub(super) fn add_proxies(&mut self) -> Option<(ProcessId, ProcessId)> {
        if self.plan.load.route == Route::MultiHost {
            return None;
        }
        if self.plan.load.route == Route::Service {
            let service = self.add_service();
            return Some((service, service));
        }
        if self.plan.load.route == Route::Confd {
            let pooler = self.add_written_pooler();
            return Some((pooler, pooler));
        }
        if self.plan.load.route == Route::Dns {
            let pooler = self.add_pooler(None);
            return Some((pooler, pooler));
        }
        let servers: Vec<ProxyServer> = self
            .members
            .iter()
            .map(|peer| ProxyServer { rest: peer.patroni, traffic: peer.postgres })
            .collect();
        let ProxySettings { health, balance, shutdown_sessions } = self.plan.load.proxy;
        let proxy = |check, balance, servers| HaProxySpec {
            health,
            balance,
            shutdown_sessions,
            ..HaProxySpec::template(check, servers)
        };
        let primary = proxy(RestPath::Primary, balance, servers.clone());
        let mut primary = self.add_process("haproxy-1", self.app, ClusterSpec::HaProxy(primary));
        let mut replicas = primary;
        if self.plan.load.readers > 0 && self.plan.load.read_from != ReadFrom::Primary {
            let spec = proxy(RestPath::Replica, Balance::RoundRobin, servers);
            replicas = self.add_process("haproxy-2", self.app, ClusterSpec::HaProxy(spec));
        }
        if self.plan.load.route == Route::PgBouncer {
            primary = self.add_pooler(Some(primary));
        }
        Some((primary, replicas))
    }

    fn add_pooler(&mut self, upstream: Option<ProcessId>) -> ProcessId {
        let mut spec = self.plan.load.pooler.in_front_of(upstream);
        spec.host_name = self.name_server.map(|name_server| HostName {
            name_server,
            addresses: self.members.iter().map(|peer| peer.postgres).collect(),
        });
        let spec = ClusterSpec::PgBouncer(spec);
        self.add_process_with("pgbouncer-1", self.app, spec, Disk::Pooler(ConfigurationFile::default()))
    }

    /// The pooler whose configuration `confd` writes.
    fn add_written_pooler(&mut self) -> ProcessId {
        let pooler = self.add_pooler(None);
        let spec = ConfdSpec {
            etcd: Arc::clone(self.etcd),
            prefix: Keys::prefix(&self.plan.configuration.scope),
            servers: self.servers(),
            pooler,
            interval: self.plan.load.pooler.confd_interval,
        };
        self.add_process("confd-1", self.app, ClusterSpec::Confd(spec));
        pooler
    }

    fn add_service(&mut self) -> ProcessId {
        let settings = self.plan.configuration.kubernetes.as_ref();
        let by_endpoints = settings.is_some_and(|settings| settings.use_endpoints);
        let endpoints = by_endpoints.then(|| self.plan.configuration.scope.clone());
        let spec = ServiceSpec::new(Arc::clone(self.api_servers), endpoints, self.servers());
        self.add_process("kube-proxy-1", self.app, ClusterSpec::Service(spec))
    }

    /// The servers, by the names of their members.
    fn servers(&self) -> Vec<(String, ProcessId)> {
        let name = |peer: &Peer| format!("patroni-{}", peer.member.0 + 1);
        self.members.iter().map(|peer| (name(peer), peer.postgres)).collect()
    }

    fn workload(&mut self, work: Work) -> Workload {
        self.number += 1;
        let load = self.plan.load;
        Workload {
            work,
            stop_at: load.stop_at,
            ignores_warnings: load.on_timeout == ImpatientClient::CancelAndIgnoreWarnings,
            ..Workload::writes(self.number)
        }
    }

    fn client(&self, workload: Workload, address: Option<ProcessId>, interval: SimDuration) -> ClusterSpec {
        let timeout = self.plan.load.statement_timeout;
        let then = match self.plan.load.on_timeout {
            ImpatientClient::Drop => OnTimeout::Drop,
            _ => OnTimeout::Cancel { wait: timeout },
        };
        let ClientSettings { connect_timeout, tcp } = self.plan.load.client;
        if let Some(address) = address {
            let mut spec = ApplicationSpec::new(workload, address);
            spec.connections = 1;
            spec.interval = Distribution::Constant(interval);
            spec.statement_timeout = Some(StatementTimeout { after: timeout, then });
            spec.connect_timeout = connect_timeout.or(spec.connect_timeout);
            spec.options = tcp.unwrap_or(spec.options);
            return ClusterSpec::Application(spec);
        }
        let hosts = self.members.iter().map(|peer| peer.postgres).collect();
        let mut spec = MultiHostClientSpec::new(workload, hosts);
        spec.interval = interval;
        spec.statement_timeout = timeout;
        spec.connect_timeout = connect_timeout.unwrap_or(spec.connect_timeout);
        spec.options = tcp.unwrap_or(spec.options);
        ClusterSpec::MultiHostClient(spec)
    }

    fn add_process(&mut self, name: &str, host: HostId, spec: ClusterSpec) -> ProcessId {
        self.add_process_with(name, host, spec, Disk::Nothing)
    }

    fn add_process_with(&mut self, name: &str, host: HostId, spec: ClusterSpec, disk: Disk) -> ProcessId {
        let volume = self.builder.add_volume(host, disk, &Distribution::Constant(SimDuration::ZERO));
        self.builder.add_process(ProcessOptions {
            name: name.to_owned(),
            host,
            volume,
            starts_with_host: true,
            spec,
        })
    }
}
