//! What nodes are called and where they are. Both get into tables, URIs, connection strings and pg_hba.conf, where other
//! characters than these would mean something.

/// Why a node can't have this name.
pub fn bad_name(name: &str) -> Option<String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '\'' | '"' | '\\');
    let is_bad = name.is_empty() || name.contains(odd);
    is_bad.then(|| format!("{name:?} can't be the name of a node"))
}

pub const NAME_REMEDY: &str = "it needs at least one character, and no blanks, slashes, colons or quotes";

/// Why a node can't be reached there.
pub fn bad_host(host: &str) -> Option<String> {
    let odd = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_');
    // A dot in front means a whole domain in pg_hba.conf, and these words whole networks.
    let is_net = host.starts_with('.') || ["all", "samehost", "samenet"].contains(&host);
    let is_bad = host.is_empty() || host.contains(odd) || is_net;
    is_bad.then(|| format!("{host:?} can't be the host name of a node"))
}

pub const HOST_REMEDY: &str = "give a host name or an IPv4 address, of letters, digits, dots and hyphens";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_one_machine_and_nothing_else() {
        for good in ["node1.example", "10.0.0.1", "my_host-2", "localhost"] {
            assert_eq!(bad_host(good), None);
        }
        for bad in [
            "",
            "all",
            "samenet",
            ".example",
            "a b",
            "h 0.0.0.0/0",
            "a\nhost all all 0.0.0.0/0 trust",
            "a,b",
            "#",
            "::1",
            "a'",
        ] {
            assert!(bad_host(bad).is_some_and(|why| !why.contains('\n')), "{bad}");
        }
    }

    #[test]
    fn a_name_is_one_word() {
        for good in ["node_1", "Zürich-2", "a.b"] {
            assert_eq!(bad_name(good), None);
        }
        for bad in ["", "a b", "a/b", "a:b", "a\n", "a'b", "\u{7}"] {
            assert!(bad_name(bad).is_some(), "{bad}");
        }
    }
}
