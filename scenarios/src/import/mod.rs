//! Readers of real configuration files.
//!
//! A real file is read as the real software reads it: its own rules for types, precedence and ranges, its own reaction
//! to nonsense. Keys that hasim does not know are reported and never fatal.

mod helm;
mod known_keys;
mod overruled;
mod patroni;
mod redis;
mod round_trips;
mod settings;
pub mod value;

pub use overruled::Overruled;
pub use patroni::{PatroniFile, read_patroni_yml};
pub use redis::{
    RedisFile, RedisSettings, read_redis_conf, redis_setting_from_flag, redis_settings_from_table,
};
pub use round_trips::read_round_trips;
pub use settings::{Settings, setting_from_flag, settings_from_table};
