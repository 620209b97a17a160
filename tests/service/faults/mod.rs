//! The fault table.

mod providers;
