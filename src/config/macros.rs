//! Declarations of what is read.

/// Lets types whose text form says what is wrong (`FromStr`) be read.
macro_rules! read_by_from_str {
    ($($name:ty),+ $(,)?) => {
        $(impl $crate::config::read::Read for $name {
            fn read(
                node: $crate::config::tree::Node,
                at: &str,
                problems: &mut $crate::config::error::Problems,
            ) -> Option<Self> {
                $crate::config::read::from_text(node, at, problems, |text| {
                    text.trim().parse().map_err(|error: <$name as std::str::FromStr>::Err| error.to_string())
                })
            }
        })+
    };
}
pub(super) use read_by_from_str;

/// Declares a section: a struct, each of whose fields is a key. A field without a default has it in
/// `config/default.toml`, or is optional. `check` notes what the types alone do not rule out.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty $(= $default:expr)?,)+
        }
        $(check = $check:expr;)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[$field_meta])* pub $field: $type,)+
        }

        impl $crate::config::read::Read for $name {
            const BY_FILE: bool = false;

            fn read(
                node: $crate::config::tree::Node,
                at: &str,
                problems: &mut $crate::config::error::Problems,
            ) -> Option<Self> {
                let known = [$(stringify!($field)),+];
                let mut section = $crate::config::read::Section::open(node, at, problems)?;
                $(
                    #[allow(unused_mut, unused_assignments, reason = "not every field has a default")]
                    let $field = {
                        let mut default: Option<$type> = None;
                        $(default = Some($default);)?
                        section.field::<$type>(stringify!($field), default)
                    };
                )+
                section.finish(&known);
                let value = Self { $($field: $field?,)+ };
                $(let check: fn(&Self, &str, &mut $crate::config::error::Problems) = $check; check(&value, at, problems);)?
                Some(value)
            }
        }
    };
}
pub(super) use section;
