//! The way of ordinary services to a modelled PostgreSQL: TCP of madsim on one side, packets of the models on the other.
//!
//! A service connects to the gateway with tokio's `TcpStream` as it would to its database, and speaks lines of text:
//!
//! | request | answers |
//! |---|---|
//! | `INSERT <value>` | `OK` (committed); `WARNING` (committed locally, the wait for a standby was cancelled); `ERROR read-only`, `ERROR starting-up`, `ERROR undefined-table`: not done |
//! | `COUNT` | `OK <rows>`; `ERROR ...` |
//!
//! Each TCP connection has one modelled connection behind it, through whatever stands in front of the servers (a modelled
//! `HAProxy`, say). When that one is refused or lost, the gateway drops the TCP connection: the service sees the end of the
//! stream, as with a real proxy, and cannot know whether its last statement was done. When the modelled side is silent,
//! the gateway is silent, too. A service that closes its connection closes the modelled one.
//!
//! Simplified: the way between service and gateway is madsim's own network with madsim's latency (1 to 10 ms unless
//! configured), and faults of the modelled schedule do not touch it; a real service would have its path to
//! the proxy cut, too. Use `NetSim` for that.

use std::net::SocketAddr;

use madsim::net::{TcpListener, TcpStream};
use madsim::runtime::Handle;
use models::patroni::{ClusterProcess, Packet};
use models::postgres::{self, Answer, Statement, SynchronousCommit};
use sim_core::{ConnectOptions, ConnectionEvent, KeepAlive, ProcessId};
use tokio::io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::port::{Port, PortConnection};

/// A gateway between services and a modelled cluster.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Where it stands in the modelled world.
    pub port: Port<ClusterProcess>,
    /// Where statements go: a modelled proxy, or a server.
    pub database: ProcessId,
    /// `synchronous_commit` of its sessions.
    pub commit: SynchronousCommit,
}

impl Gateway {
    /// Makes a node of madsim with this address, on which the gateway listens from now on.
    ///
    /// # Panics
    /// Outside of a madsim runtime, or if the address is taken.
    pub fn listen(self, address: SocketAddr) {
        let node = Handle::current().create_node().name("gateway").ip(address.ip()).build();
        node.spawn(async move {
            let listener = TcpListener::bind(address).await.expect("the address of the gateway is its own");
            while let Ok((stream, _)) = listener.accept().await {
                let gateway = self.clone();
                // An error here is the end of one connection, which the service sees.
                madsim::task::spawn(async move { drop(gateway.serve(stream).await) });
            }
        });
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let Ok(mut session) = self.log_in().await else { return Ok(()) };
        let (reader, mut writer) = tokio::io::split(stream);
        let mut lines = BufReader::new(reader).lines();
        loop {
            let line = tokio::select! {
                // In a fixed order: tokio shuffles branches by a generator that no seed governs.
                biased;
                line = lines.next_line() => line?,
                // Only the end of the connection comes unasked.
                _ = session.connection.receive() => return Ok(()),
            };
            let Some(line) = line else { return Ok(()) };
            let Some(statement) = self.parse(&line) else {
                answer_with(&mut writer, "ERROR syntax\n").await?;
                continue;
            };
            let answer = tokio::select! {
                biased;
                answer = session.ask(statement) => answer,
                // The service closed the connection, or broke the rule of one statement at a time.
                _ = lines.next_line() => return Ok(()),
            };
            let Ok(answer) = answer else { return Ok(()) };
            let text = match answer {
                Answer::Committed => "OK\n".to_owned(),
                Answer::CommittedLocally => "WARNING\n".to_owned(),
                Answer::Count(rows) => format!("OK {rows}\n"),
                Answer::ReadOnly => "ERROR read-only\n".to_owned(),
                Answer::StartingUp => "ERROR starting-up\n".to_owned(),
                Answer::UndefinedTable => "ERROR undefined-table\n".to_owned(),
                // Done or not, as with a lost connection.
                Answer::ShuttingDown | Answer::InRecovery(_) => return Ok(()),
            };
            answer_with(&mut writer, &text).await?;
        }
    }

    fn parse(&self, line: &str) -> Option<Statement> {
        match line.split_once(' ') {
            Some(("INSERT", value)) => {
                Some(Statement::Insert { value: value.parse().ok()?, commit: self.commit })
            }
            None if line == "COUNT" => Some(Statement::Count),
            _ => None,
        }
    }

    /// Connects and logs in, as the models' own clients do.
    async fn log_in(&self) -> Result<Session, ConnectionEvent> {
        let options = ConnectOptions { user_timeout: None, keep_alive: Some(KeepAlive::LINUX) };
        let connection = self.port.connect(self.database, options).await?;
        let mut session = Session { connection, query: 0 };
        let nonce = madsim::rand::random();
        match session.ask(Statement::LogIn { nonce }).await? {
            Answer::InRecovery(_) => Ok(session),
            _ => Err(ConnectionEvent::Closed),
        }
    }
}

async fn answer_with(writer: &mut (impl AsyncWrite + Unpin), text: &str) -> std::io::Result<()> {
    writer.write_all(text.as_bytes()).await?;
    // madsim's stream keeps what is written until it is flushed.
    writer.flush().await
}

struct Session {
    connection: PortConnection<ClusterProcess>,
    query: u64,
}

impl Session {
    async fn ask(&mut self, statement: Statement) -> Result<Answer, ConnectionEvent> {
        self.query += 1;
        self.connection.send(Packet::Postgres(postgres::Packet::Query { query: self.query, statement }));
        loop {
            if let Packet::Postgres(postgres::Packet::Answer { query, answer, .. }) =
                self.connection.receive().await?
                && query == self.query
            {
                return Ok(answer);
            }
        }
    }
}
