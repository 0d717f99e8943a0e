//! Templates of every shape, and what is found in them.

use super::check;
use contract::var::{Var, VarKind};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn what_the_types_have_is_accepted_in_every_branch() {
    for source in [
        "{{ name }} {{ router.asn }} {{ tinkerbell.api.key }} {{ minio['user'] }}",
        "{% if haproxy is not defined %}{% elif haproxy.config is defined %}{{ haproxy.config }}{% endif %}",
        "{% for port, settings in network|items if settings.wireguard is defined %}{{ loop.index }}{{ port }}{{ settings.wireguard.listen_port }}{% endfor %}",
        "{% set speaker = bgp if bgp is defined else router %}{{ speaker.router_id }}{% for n in speaker.neighbor %}{{ n.bfd }}{% endfor %}",
        "{% if bgp is defined %}{% set s = bgp %}{% else %}{% set s = router %}{% endif %}{{ s.router_id }}",
        "{% set ids = namespace(first=\"\") %}{% set ids.first = name %}{{ ids.first }}{{ ids.other }}",
        "{% set own = network.lo.addresses if network.lo is defined else [] %}{% for net in own %}{{ net|host }}{% endfor %}",
        "{% for k in router.neighbor|map(attribute='address') %}{{ k }}{% endfor %}{{ (router.neighbor|first).asn }}",
        "{% with n = router.neighbor[0] %}{{ n.address }}{% endwith %}{% for name in k3s.tls_san %}{{ name }}{% endfor %}",
        "{% for n in router.neighbor|selectattr('bfd')|sort(attribute='asn') %}{{ n.address }}{% endfor %}{{ range(3) }}",
        "{{ network[name].mtu }} {{ k3s.labels['a.b/c'] }} {{ minio.settings.ANY }} {{ network.eth0.gateway[0] }}",
        "{% macro %}",
        "{{ ",
        "{{ unknown_filter|no_such }",
        "{# {{ nmae }} #}{% raw %}{{ nmae }}{% endraw %}",
    ] {
        assert_eq!(check("t", source, &BTreeMap::new()), [], "{source}");
    }
}

#[test]
fn what_no_type_has_is_found_wherever_it_stands() {
    for (source, at, wanted) in [
        ("{{ nmae }}", "nmae", "did you mean `name`?"),
        ("{% if rotuer is defined %}{% endif %}", "rotuer", "did you mean `router`?"),
        ("{{ 'x' if router.fierwall is defined }}", "router.fierwall", "`router.firewall`"),
        ("{% if 0 %}{{ ssh.kesy }}{% endif %}", "ssh.kesy", "`ssh.keys`"),
        ("{% for n in router.neighbor %}{{ n.adress }}{% endfor %}", "n.adress", "`router.neighbor.address`"),
        ("{% for p, s in network|items if s.adresses %}{% endfor %}", "s.adresses", "`network.NAME.addresses`"),
        ("{% for p, s in router.dhcp|dictsort %}{{ s.frist }}{% endfor %}", "s.frist", "`router.dhcp.NAME.first`"),
        ("{% set r = router %}{{ r.dchp }}", "r.dchp", "`router.dhcp`"),
        ("{% set s = bgp if bgp is defined else router %}{{ s.anounce }}", "s.anounce", "announce`"),
        ("{{ router.neighbor.address }}", "router.neighbor.address", "for ... in router.neighbor"),
        ("{{ (router.neighbor|first).addr }}", "(router.neighbor|first)", "`router.neighbor.address`"),
        ("{{ router.neighbor|map(attribute='adress')|join(',') }}", "", "`router.neighbor.address`"),
        ("{{ router['dchp'] }}", "router['dchp']", "`router.dhcp`"),
        ("{{ router|attr('dchp') }}", "", "`router.dhcp`"),
        ("{{ name.first }}", "name.first", "`name` is a single value"),
        ("{% for key in ssh.keys %}{% endfor %}{{ key }}", "key", "`key` is not a key of node.toml"),
        ("{% for key in ssh.keys %}{% set entry = key %}{{ enrty }}{% endfor %}", "enrty", "did you mean `entry`?"),
        ("{{ [name, nmae] }}{{ {'a': name} }}", "nmae", "`name`"),
        ("{{ name|default(nmae) }}", "nmae", "`name`"),
        ("{% set x %}{{ nmae }}{% endset %}", "nmae", "`name`"),
        ("{% filter upper %}{{ nmae }}{% endfilter %}", "nmae", "`name`"),
        ("{{ name ~ nmae }}", "nmae", "`name`"),
        ("{{ name is sameas(nmae) }}", "nmae", "`name`"),
    ] {
        let found = check("t", source, &BTreeMap::new());
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        let said = format!("{}; {:?}", found[0].message, found[0].help);
        assert!(said.contains(wanted), "{source}: {said}");
        assert!(source[found[0].span.start..].starts_with(at) && !found[0].span.is_empty(), "{source}: {found:?}");
    }
}

proptest! {
    #[test]
    fn no_template_makes_it_panic(source in "(\\{\\{|\\}\\}|\\{%|%\\}|for|in|if|set|name|router| |\\.|\\||[a-z\\[\\]'\"(),=]|\\PC){0,40}") {
        for misuse in check("t", &source, &BTreeMap::new()) {
            prop_assert!(source.get(misuse.span.clone()).is_some(), "{misuse:?}");
        }
    }
}

#[test]
fn a_variable_that_the_profile_does_not_declare_is_named_with_what_is_meant() {
    let var = |kind| Var { kind, default: None, optional: true };
    let vars = BTreeMap::from([
        ("greeting".to_owned(), var(VarKind::String)),
        ("peers".to_owned(), var(VarKind::List)),
        ("token".to_owned(), var(VarKind::Secret)),
    ]);
    let fine = "{{ vars.greeting }}{{ vars.secret.token }}{% for p in vars.peers %}{{ p }}{% endfor %}{{ vars['greeting'] }}";
    assert_eq!(check("t", fine, &vars), []);
    for (source, help) in [
        ("{{ vars.greetin }}", "did you mean `greeting`?"),
        ("{{ vars.token }}", "it is a secret: `vars.secret.token`"),
        ("{{ vars.secret.greeting }}", "it is not a secret: `vars.greeting`"),
        ("{% if vars.zzz is defined %}{% endif %}", "add [vars.zzz] with its `type` to the profile"),
    ] {
        let found = check("t", source, &vars);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert_eq!(found[0].help.as_deref(), Some(help), "{source}");
    }
}
