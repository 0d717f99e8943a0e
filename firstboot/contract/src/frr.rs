//! A complete frr.conf, divided among FRR's daemons as `vtysh -b` does it (vtysh/vtysh_config.c): each reads its own file and knows
//! its own commands only. Lines of others become comments, so that a line keeps its number.

/// The daemons that have a file of their own.
pub const DAEMONS: [&str; 4] = ["bgpd", "bfdd", "mgmtd", "zebra"];

/// First words of commands at the top, and whose they are (FRR 10.3). mgmtd has what zebra and staticd are told.
const COMMANDS: [(&str, &[&str]); 33] = [
    ("frr", &DAEMONS),
    ("hostname", &DAEMONS),
    ("domainname", &DAEMONS),
    ("log", &DAEMONS),
    ("no log", &DAEMONS),
    ("service", &DAEMONS),
    ("line", &DAEMONS),
    ("end", &DAEMONS),
    ("bfd", &["bfdd"]),
    ("debug bfd", &["bfdd"]),
    ("debug zebra", &["zebra"]),
    ("zebra", &["zebra"]),
    ("interface", &["mgmtd"]),
    ("vrf", &["mgmtd"]),
    ("ip route", &["mgmtd"]),
    ("ipv6 route", &["mgmtd"]),
    ("ip protocol", &["mgmtd"]),
    ("ipv6 protocol", &["mgmtd"]),
    ("ip nht", &["mgmtd"]),
    ("ipv6 nht", &["mgmtd"]),
    ("ip router-id", &["mgmtd"]),
    ("ipv6 router-id", &["mgmtd"]),
    ("router-id", &["mgmtd"]),
    ("nexthop-group", &["zebra"]),
    ("segment-routing", &["zebra"]),
    ("ip forwarding", &["zebra"]),
    ("ipv6 forwarding", &["zebra"]),
    ("access-list", &["bgpd", "mgmtd"]),
    ("ipv6 access-list", &["bgpd", "mgmtd"]),
    ("ip prefix-list", &["bgpd", "mgmtd"]),
    ("ipv6 prefix-list", &["bgpd", "mgmtd"]),
    ("route-map", &["bgpd", "mgmtd"]),
    ("router bgp", &["bgpd"]),
];
/// Who gets what no one is known to have: it says that it does not know it.
const OTHERS: &[&str] = &["bgpd"];

/// What a daemon gets of a whole frr.conf.
#[must_use]
pub fn part(config: &str, daemon: &str) -> String {
    let mut owners = OTHERS;
    let mut text = String::with_capacity(config.len());
    for line in config.lines() {
        let bare = line.trim_end();
        let comment = bare.is_empty() || bare.trim_start().starts_with(['!', '#']);
        let top = !bare.starts_with(char::is_whitespace) && !comment;
        let ends = bare.split(' ').next().is_some_and(|word| word == "exit" || word.starts_with("exit-"));
        if top && !ends {
            owners = of(bare);
        }
        let own = !comment && owners.contains(&daemon);
        text.push_str(if own { bare } else { "!" });
        text.push('\n');
    }
    text
}

/// Whose a command is: by its longest known beginning; `no` before it changes nothing.
fn of(line: &str) -> &'static [&'static str] {
    let begins = |command: &str| {
        let plain = line.strip_prefix("no ").unwrap_or(line);
        [line, plain].iter().any(|line| {
            line.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        })
    };
    let known = COMMANDS.iter().filter(|(command, _)| begins(command));
    known.max_by_key(|(command, _)| command.len()).map_or(OTHERS, |(_, owners)| owners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = "frr defaults traditional\n!\ninterface eth0\n description up\nexit\nip route 10.5.0.0/16 10.0.0.9\n\
                         router bgp 65001\n neighbor 10.0.0.2 remote-as 65002\n address-family ipv4 unicast\n  network 10.1.0.0/16\n\
                         exit-address-family\nexit\n# words\nroute-map X permit 10\n set metric 5\nexit\nbfd\n peer 10.0.0.2\nexit\n\
                         no router bgp 65009\nbgp as-path access-list A permit .*\nrouter ospf\n";

    fn lines(daemon: &str) -> Vec<(usize, String)> {
        let text = part(WHOLE, daemon);
        let own = text.lines().enumerate().filter(|(_, line)| *line != "!");
        own.map(|(at, line)| (at + 1, line.to_owned())).collect()
    }

    #[test]
    fn every_daemon_gets_its_own_commands_under_their_numbers() {
        let numbers = |daemon: &str| lines(daemon).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers("bgpd"), [1, 7, 8, 9, 10, 11, 12, 14, 15, 16, 20, 21, 22]);
        assert_eq!(numbers("mgmtd"), [1, 3, 4, 5, 6, 14, 15, 16]);
        assert_eq!(numbers("bfdd"), [1, 17, 18, 19]);
        assert_eq!(numbers("zebra"), [1]);
        assert!(lines("bgpd").contains(&(22, "router ospf".to_owned())), "bgpd says that it does not know it");
    }

    proptest! {
        #[test]
        fn a_line_keeps_its_number_and_somebody_gets_it(
            text in "(router bgp 1|interface x|exit|bfd|!| neighbor|\n|ip route|\\PC){0,20}",
        ) {
            let parts = DAEMONS.map(|daemon| part(&text, daemon));
            for (at, line) in text.lines().enumerate() {
                let bare = line.trim_end();
                let comment = bare.is_empty() || bare.trim_start().starts_with(['!', '#']);
                let got = parts.iter().filter(|part| part.lines().nth(at) == Some(bare)).count();
                prop_assert!(comment || got > 0, "{bare:?} is lost");
            }
        }
    }
}
