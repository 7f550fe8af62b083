/** Where the files lie on the machine that runs mosquitto, and where it listens. */
export interface MosquittoSettings {
  /** Folder of the files below, as mosquitto sees it. */
  readonly dir: string;
  /** For the master and for nodes: with a certificate. */
  readonly port: number;
  /** For those who join: without. */
  readonly joinPort: number;
}

/** Names of the files that mosquitto reads. */
export const mosquittoFiles = {
  config: 'mesolite.conf',
  nodes: 'nodes.acl',
  joins: 'joins.acl',
  ca: 'ca.pem',
  certificate: 'broker.pem',
  key: 'broker.key',
} as const;

/** The configuration file; bounds are those of the embedded broker where mosquitto has the like. */
export function mosquittoConfig({ dir, port, joinPort }: MosquittoSettings): string {
  const { nodes, joins, ca, certificate, key } = mosquittoFiles;
  return `# Mosquitto 2.0 as the broker of a Mesolite fleet: mosquitto -c ${dir}/${mosquittoFiles.config}
# It is not trusted: policies and assignments are signed, a join is proven by its token.

per_listener_settings true
# nothing outlives a connection; the master says again what is retained
persistence false
max_packet_size 4195328
max_keepalive 120
max_inflight_messages 100
max_queued_messages 10000
max_queued_bytes 9437184
message_size_limit 4194304

# The master and nodes: the common name of the certificate is the user and the client id.
listener ${port}
certfile ${dir}/${certificate}
keyfile ${dir}/${key}
cafile ${dir}/${ca}
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file ${dir}/${nodes}

# Those who join have no certificate yet: the user is the id of their token, the client id a nonce, and the only topics
# are their own question and answer. Whether the token is right is for the master.
listener ${joinPort}
certfile ${dir}/${certificate}
keyfile ${dir}/${key}
tls_version tlsv1.3
allow_anonymous true
max_connections 256
acl_file ${dir}/${joins}
`;
}

/** What a client with a certificate may say and hear; `%u` is the common name of its certificate. */
export function mosquittoNodesAcl(): string {
  return `# the master; no node can be called so, for its name has a dot
user mesolite.master
topic readwrite mesolite/v1/#

pattern write mesolite/v1/up/%u/+
pattern read mesolite/v1/down/%u/+
pattern read mesolite/v1/all/#
`;
}

/** What one who joins may say and hear; \`%u\` is the id of its token, \`%c\` its nonce. */
export function mosquittoJoinsAcl(): string {
  return `pattern write mesolite/v1/join/%u/%c/req
pattern read mesolite/v1/join/%u/%c/res
`;
}
