//! `redis.conf` and `sentinel.conf`.

mod directives;
mod file;
mod known;
mod settings;

pub use file::{RedisFile, read_redis_conf};
pub use settings::{RedisSettings, redis_setting_from_flag, redis_settings_from_table};
