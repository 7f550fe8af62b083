import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Entry, gzipped, type Package } from './deb.ts';
import { glibcOf, type Runtime } from './runtime.ts';

const sources = 'scripts/package';
const home = 'usr/lib/mesolite';
const units = 'usr/lib/systemd/system';

/** What each text is written for: where Node, the program and what belongs to it are, and which service it is. */
type Places = Readonly<Record<string, string>>;

/** The command and the agent; with a `runtime` it brings its own Node. */
export function agentPackage(version: string, runtime?: Runtime): Package {
  const service = 'mesolite-agent';
  const sockets = [`${service}.socket`, `${service}-outbound.socket`];
  const places = placesOf(service, [...sockets, `${service}.service`], runtime);
  return {
    name: 'mesolite',
    // beside the package without one it is the newer of the two
    version: runtime === undefined ? version : `${version}+node${runtime.version}`,
    architecture: runtime?.architecture ?? 'all',
    depends: ['adduser', runtime?.depends ?? 'nodejs (>= 20.11)'],
    recommends: ['systemd'],
    description: [
      'fleet of small machines: agent, mesh proxy and command line',
      'Mesolite runs programs on a fleet of small machines and secures the calls',
      'between them: what Apache Mesos and Istio do, at the size of a board.',
      '',
      'This package has the agent of a node, which runs tasks and fronts them with',
      'a proxy that speaks mutual TLS, and the command line.',
      ...(runtime === undefined ? [] : ['', `It brings Node.js ${runtime.version}.`]),
    ],
    entries: [
      { path: `${home}/build/dist`, content: { from: 'build/dist' } },
      { path: `${home}/firmware-profiles`, content: { from: 'firmware-profiles' } },
      { path: `${home}/package.json`, content: { from: 'package.json' } },
      ...(runtime === undefined ? [] : [{ path: `${home}/node`, content: { text: runtime.bytes }, isProgram: true }]),
      { path: 'usr/bin/mesolite', content: { text: textOf('mesolite', places) }, isProgram: true },
      { path: 'usr/sbin/mesolite-join', content: { text: textOf('mesolite-join', places) }, isProgram: true },
      { path: `${home}/start-agent`, content: { text: textOf('start-agent', places) }, isProgram: true },
      ...[...sockets, `${service}.service`].map(unit => unitOf(unit, places)),
      {
        path: `usr/share/doc/mesolite/examples/run-as-root.conf`,
        content: { from: `${sources}/systemd/run-as-root.conf` },
      },
      { path: 'usr/share/doc/mesolite/README.md', content: { from: 'README.md' } },
      ...documentsOf('mesolite', version),
      defaultsOf(service),
    ],
    scripts: scriptsOf(places),
    conffiles: [`etc/default/${service}`],
  };
}

/** The service of a master for an architecture whose native database is at hand. */
export function masterPackage(version: string, { architecture, name, modules }: Library): Package {
  const service = 'mesolite-master';
  const places = placesOf(service, [`${service}.service`]);
  const ours = ['libsql', '@neon-rs/load', 'detect-libc'].map(part => ({ part, from: 'node_modules' }));
  const native = readFileSync(join(modules, name, 'index.node'));
  return {
    name: service,
    version,
    architecture,
    depends: [`mesolite (>= ${version})`, 'adduser', `libc6 (>= ${glibcOf(native)})`, 'libgcc-s1'],
    recommends: ['systemd'],
    description: [
      'fleet of small machines: the master',
      'The master of a Mesolite fleet decides which node runs which task, issues',
      'certificates and policies, and has its own MQTT broker and database.',
    ],
    entries: [
      ...[...ours, { part: name, from: modules }].map(({ part, from }) => ({
        path: `${home}/node_modules/${part}`,
        content: { from: join(from, part) },
      })),
      unitOf(`${service}.service`, places),
      ...documentsOf(service, version),
      defaultsOf(service),
    ],
    scripts: scriptsOf(places),
    conffiles: [`etc/default/${service}`],
  };
}

/** The native part of the database. */
export interface Library {
  /** Debian's name of it. */
  readonly architecture: string;
  /** npm's package of it. */
  readonly name: string;
  /** The `node_modules` that has it. */
  readonly modules: string;
}

/** npm's packages of it, by Debian's architectures. */
export const libraryNames = {
  amd64: '@libsql/linux-x64-gnu',
  arm64: '@libsql/linux-arm64-gnu',
  armhf: '@libsql/linux-arm-gnueabihf',
} as const;

/** Those that npm has installed: here that of this machine, others by `npm install --no-save --force @libsql/linux-arm64-gnu`. */
export function librariesHere(): readonly Library[] {
  const modules = 'node_modules';
  return Object.entries(libraryNames)
    .map(([architecture, name]) => ({ architecture, name, modules }))
    .filter(({ name }) => existsSync(join(modules, name)));
}

function placesOf(service: string, unitNames: readonly string[], runtime?: Runtime): Places {
  return {
    NODE: runtime === undefined ? '/usr/bin/node' : `/${home}/node`,
    HOME: `/${home}`,
    PROGRAM: `/${home}/build/dist/main.js`,
    SERVICE: service,
    UNITS: unitNames.join(' '),
  };
}

/** One of our texts with its @WORDS@ filled in. */
function textOf(file: string, places: Places): string {
  return readFileSync(join(sources, file), 'utf8').replace(/@([A-Z]+)@/g, (_, word: string) => {
    const place = places[word];
    if (place === undefined) throw new Error(`${file}: nothing is known of @${word}@`);
    return place;
  });
}

function unitOf(name: string, places: Places): Entry {
  return { path: `${units}/${name}`, content: { text: textOf(`systemd/${name}`, places) } };
}

function defaultsOf(service: string): Entry {
  return { path: `etc/default/${service}`, content: { from: `${sources}/debian/${service}.default` } };
}

function scriptsOf(places: Places): Record<string, string> {
  const names = ['postinst', 'prerm', 'postrm'];
  return Object.fromEntries(names.map(name => [name, textOf(`debian/${name}`, places)]));
}

function documentsOf(name: string, version: string): Entry[] {
  const folder = `usr/share/doc/${name}`;
  const overrides = `${sources}/debian/${name}.lintian-overrides`;
  return [
    { path: `${folder}/copyright`, content: { text: copyright() } },
    { path: `${folder}/changelog.gz`, content: { text: gzipped(changelog(name, version)) } },
    { path: `usr/share/lintian/overrides/${name}`, content: { from: overrides } },
  ];
}

function copyright(): string {
  const year = new Date(Number(process.env.SOURCE_DATE_EPOCH) * 1000).getUTCFullYear();
  return `Copyright ${year} the authors of Mesolite

Mesolite is licensed under the Apache License, Version 2.0: on Debian systems its full text is in
/usr/share/common-licenses/Apache-2.0. The program contains packages of others, whose licenses are in
/usr/lib/mesolite/build/dist/LICENSES.txt, and beside what is in /usr/lib/mesolite/node_modules.
`;
}

/** What has changed is told by the repository; this says of when the package is. */
function changelog(name: string, version: string): string {
  const date = new Date(Number(process.env.SOURCE_DATE_EPOCH) * 1000).toUTCString().replace('GMT', '+0000');
  const maintainer = process.env.DEBEMAIL ?? 'Mesolite developers <mesolite@packages.invalid>';
  return `${name} (${version}) unstable; urgency=medium\n\n  * Version ${version}.\n\n -- ${maintainer}  ${date}\n`;
}
