//! Which server of a group follows which other one at first.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use crate::diagnostic::{Source, Spot, UserError};

/// A server and whom it follows, as they are written.
pub(super) type RawReplicaOf = BTreeMap<Spanned<String>, Spanned<String>>;

/// The positions of servers that follow another one than the first, each with the position of that.
///
/// # Errors
/// A server that does not exist, the first one (it is the primary), one that follows itself, and servers that follow each other in a
/// circle.
pub(super) fn replicaof(
    raw: &RawReplicaOf,
    servers: u8,
    source: &Arc<Source>,
) -> Result<BTreeMap<u8, u8>, UserError> {
    let wrong = |name: &Spanned<String>, message: String, expected: String| {
        UserError::at(Spot::new(source, name.span()), message, expected)
    };
    let mut found = BTreeMap::new();
    for (server, upstream) in raw {
        let position = |name: &Spanned<String>| {
            position(name.get_ref(), servers).ok_or_else(|| {
                let message = format!("`{}` is not a server of the group", name.get_ref());
                wrong(name, message, format!("expected redis-1 to redis-{servers}"))
            })
        };
        let (own, followed) = (position(server)?, position(upstream)?);
        if own == 0 {
            let message = "`redis-1` is the first primary and follows nobody".to_owned();
            return Err(wrong(server, message, format!("expected redis-2 to redis-{servers}")));
        }
        if own == followed {
            let message = format!("`{}` cannot follow itself", server.get_ref());
            return Err(wrong(upstream, message, "expected another server".to_owned()));
        }
        found.insert(own, followed);
    }
    for (server, upstream) in raw {
        let Some(own) = position(server.get_ref(), servers) else { continue };
        // Whoever is not named follows the first server, so that no way to it is longer than there are servers.
        let mut way = std::iter::successors(Some(own), |server| found.get(server).copied());
        if way.nth(usize::from(servers)).is_some() {
            let message =
                format!("behind `{}` there is a circle of servers, and no primary", upstream.get_ref());
            let expected = "expected a server that follows redis-1, itself or through others".to_owned();
            return Err(wrong(upstream, message, expected));
        }
    }
    Ok(found)
}

fn position(name: &str, servers: u8) -> Option<u8> {
    let number = name.strip_prefix("redis-")?.parse::<u8>().ok()?;
    (1..=servers).contains(&number).then(|| number - 1)
}
