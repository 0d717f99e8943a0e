//! Four nodes of the profile `garage`, from the very bytes that get flashed: one object storage that goes on with one node
//! off.

use emulator::{Machine, Network, Node, Nvme};
use qemu_tests::figures::figure;
use qemu_tests::images;
use qemu_tests::memory;
use qemu_tests::s3::{self, Account, Answer, http};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Longest wait for one step: four emulated nodes share the cores.
const LONG: Duration = Duration::from_secs(600);
const SECRET: &str = "4425f5c26c5e11581d3223904324dcb5b5d5dfb14e5e7f35e38c595424f5f1e6";
const TOKEN: &str = "a-token-for-tests-alone";
/// Garage's keys have this form: `GK` and 24 hexadecimal digits, and 64 of them.
const OWNER: Account<'_> = Account { user: "GK31c2f218a2e44f485b94239e", password: SECRET };
const OBJECTS: u8 = 12;
/// Two blocks of Garage's and a bit.
const SIZE: usize = (2 << 20) + 4711;

struct Member {
    node: Node,
    /// Of this host's loopback, led to the node's S3, its administrator's API and its metrics.
    s3: u16,
    admin: u16,
    metrics: u16,
}

/// Switches on the node of this number, with a blank disk of this serial number.
fn start(number: u8, disk: &str, rack: &Network) -> Member {
    let config = format!(
        "name = \"g{number}\"\n[cluster]\nname = \"rack1\"\n\
         [network.eth0]\naddresses = [\"10.0.0.{number}/24\"]\n\
         [network.eth1]\naddresses = [\"10.0.2.15/24\"]\n[disks]\ndata = \"xfs\"\n\
         [metrics]\nlisten = \"10.0.2.15:9100\"\n\
         [garage]\nrpc_secret = \"{SECRET}\"\nadmin_token = \"{TOKEN}\"\naddress = \"10.0.0.{number}\"\n\
         admin_api = true\nregion = \"us-east-1\"\n"
    );
    let mut machine = Machine::new(images::garage())
        .name(&format!("g{number}"))
        .memory(1024)
        .deadline(Duration::from_secs(3600))
        .serial(&format!("SYSTEM-{disk}"))
        .emmc()
        .nvme(Nvme::new(disk).size(4 << 30))
        .network(rack)
        .user_network()
        .node_config(config);
    let [s3, admin, metrics] = [3900, 3903, 9100].map(|port| machine.forward(port).unwrap());
    Member { node: machine.start().unwrap(), s3, admin, metrics }
}

impl Member {
    /// Asks the administrator's API, again and again until it answers as `wanted` likes.
    fn admin<T>(&self, method: &str, path: &str, body: &Value, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let begin = Instant::now();
        let bearer = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        loop {
            let answer = http(self.admin, method, path, &bearer, &body);
            let said = match &answer {
                Ok(Answer { status: 200, body }) => serde_json::from_slice(body).unwrap_or(Value::Null),
                _ => Value::Null,
            };
            if let Some(found) = wanted(&said).filter(|_| !said.is_null()) {
                return found;
            }
            assert!(begin.elapsed() < LONG, "{method} {path}: {answer:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// The identifier that this node made for itself.
    fn id(&self) -> String {
        self.admin("GET", "/v2/GetNodeInfo?node=self", &Value::Null, |said| {
            said["success"].as_object()?.keys().next().cloned()
        })
    }

    fn said(&self, text: &str) {
        let begin = Instant::now();
        while !self.node.console().contains(text) {
            assert!(begin.elapsed() < LONG, "never said {text:?}:\n{}", self.node.console());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// A request of S3 that is answered with 200, at the latest when the cluster has noticed who is gone.
    fn fine(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let begin = Instant::now();
        loop {
            match s3::ask(self.s3, Some(OWNER), method, path, body) {
                Ok(Answer { status: 200, body }) => return body,
                other => assert!(begin.elapsed() < LONG, "{method} {path}: {other:?}"),
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn object(seed: u8) -> Vec<u8> {
    s3::object(seed.into(), SIZE)
}

/// A node's place in the layout: 1 GB in one zone.
fn role(id: &str) -> Value {
    json!({ "id": id, "zone": "rack1", "capacity": 1_000_000_000_u64, "tags": [] })
}

/// Puts these changes into the cluster's next layout, and that in force.
fn lay_out(member: &Member, version: u64, roles: &Value) {
    member.admin("POST", "/v2/UpdateClusterLayout", &json!({ "roles": roles }), |_| Some(()));
    member.admin("POST", "/v2/ApplyClusterLayout", &json!({ "version": version }), |_| Some(()));
}

fn all_there(member: &Member, objects: std::ops::Range<u8>) {
    for number in objects {
        assert!(member.fine("GET", &format!("/rack/{number}"), b"") == object(number), "object {number} changed");
    }
}

#[test]
fn four_garage_nodes_are_one_object_storage_that_goes_on_with_one_off() {
    let (rack, begin) = (Network::new(), Instant::now());
    let mut members: Vec<Member> = (1..=4).map(|number| start(number, &format!("DATA{number}"), &rack)).collect();
    for member in &members {
        member.said("data (xfs) was made on /dev/nvme0n1p1");
    }
    // As `garage node connect` and `garage layout` do it.
    let ids: Vec<String> = members.iter().map(Member::id).collect();
    let places: Vec<String> = ids.iter().zip(1..).map(|(id, number)| format!("{id}@10.0.0.{number}:3901")).collect();
    members[0].admin("POST", "/v2/ConnectClusterNodes", &json!(places), |said| {
        said.as_array()?.iter().all(|each| each["success"] == true).then_some(())
    });
    lay_out(&members[0], 1, &Value::Array(ids.iter().map(|id| role(id)).collect()));
    for member in &members {
        member.said("] health passed");
        assert!(!member.node.console().contains(SECRET), "a secret stands on a console");
    }
    figure("four Garage nodes, power-on to one healthy cluster", seconds(begin.elapsed()));

    let key = json!({ "accessKeyId": OWNER.user, "secretAccessKey": OWNER.password, "name": "owner" });
    members[0].admin("POST", "/v2/ImportKey", &key, |_| Some(()));
    let grant = json!({ "read": true, "write": true, "owner": true });
    let bucket = members[0].admin("POST", "/v2/CreateBucket", &json!({ "globalAlias": "rack" }), |said| {
        said["id"].as_str().map(str::to_owned)
    });
    let grant = json!({ "bucketId": bucket, "accessKeyId": OWNER.user, "permissions": grant });
    members[0].admin("POST", "/v2/AllowBucketKey", &grant, |_| Some(()));

    let written = Instant::now();
    for number in 0..OBJECTS / 2 {
        members[usize::from(number % 4)].fine("PUT", &format!("/rack/{number}"), &object(number));
    }
    figure("six objects of 2 MiB written to four Garage nodes", seconds(written.elapsed()));
    all_there(&members[2], 0..OBJECTS / 2);
    let stranger = Account { password: TOKEN, ..OWNER };
    for account in [None, Some(stranger)] {
        let answer = s3::ask(members[1].s3, account, "GET", "/rack/1", b"").unwrap();
        assert_eq!(answer.status, 403, "{account:?}: {}", String::from_utf8_lossy(&answer.body));
    }
    let memory = members.iter().map(|member| memory::of_service(member.metrics, "garage")).fold(0.0, f64::max);
    figure("Garage, most memory of four nodes with its page cache", format_args!("{:.0} MiB", memory / 1_048_576.0));

    // One loses its power for good: the others read and write.
    members[1].node.kill();
    let cut = Instant::now();
    all_there(&members[3], 0..OBJECTS / 2);
    figure("six objects read from Garage just after a node's power was cut", seconds(cut.elapsed()));
    for number in OBJECTS / 2..OBJECTS {
        members[2].fine("PUT", &format!("/rack/{number}"), &object(number));
    }

    all_there(&members[0], 0..OBJECTS);
    figure("four Garage nodes, the whole test", seconds(begin.elapsed()));
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f32())
}
