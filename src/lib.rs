//! Herald: a supervised event and notification runtime.
//!
//! Layers, each of which may use only those below it: `cli` → `http` → `actors` → `providers`,
//! `store`, `templates` → `policy` → `domain`. [`supervision`] stands beside them and knows nothing
//! of Herald; [`config`] is read by `cli` and hands each layer its own settings. A test
//! (`tests/architecture/`) holds the code to this.

pub mod actors;
pub mod breakpoint;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod policy;
pub mod providers;
pub mod store;
pub mod supervision;
pub mod templates;
