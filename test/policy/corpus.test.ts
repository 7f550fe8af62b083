import t from 'tap';
import type { PathNormalization } from '../../src/model/policy.ts';
import { authorize } from '../../src/policy/authorize.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { normalizePath } from '../../src/policy/normalize-path.ts';
import { corpusMissing, policyOf, readCorpus } from '../fixtures/istio-corpus.ts';

interface AuthzCases {
  readonly context: {
    readonly sources: Readonly<Record<string, { readonly principal: string; readonly ip: string }>>;
    readonly destination: {
      readonly app: string;
      readonly namespace: string;
      readonly ip: string;
      readonly sni: string;
    };
    readonly trustDomain: string;
    readonly rootNamespace: string;
  };
  readonly sets: readonly {
    readonly id: string;
    readonly policies: readonly unknown[];
    readonly requests: readonly {
      readonly from: string;
      readonly protocol: string;
      readonly method?: string;
      readonly path?: string;
      readonly port: number;
      readonly allow: boolean;
    }[];
  }[];
}

interface PathCases {
  readonly cases: readonly { readonly mode: PathNormalization; readonly in: string; readonly out: string }[];
}

t.test('every authorization case of Istio agrees', { skip: corpusMissing }, async t => {
  const { context, sets } = readCorpus<AuthzCases>('authz-cases.json');
  const { destination, sources } = context;
  for (const { id, policies, requests } of sets) {
    const compiled = compilePolicy({ ...context, meshDefault: 'allow', revision: 1, policies: policies.map(policyOf) });
    const workload = compiled.forWorkload({
      namespace: destination.namespace,
      serviceAccount: 'default',
      labels: { app: destination.app },
    });
    for (const { from, protocol, method, path, port, allow } of requests) {
      const verdict = authorize(workload, {
        protocol: protocol === 'tcp' ? 'tcp' : 'http',
        principal: sources[from]?.principal,
        sourceIp: sources[from]?.ip ?? '',
        destinationIp: destination.ip,
        destinationPort: port,
        serverName: destination.sni,
        method,
        path,
      });
      t.equal(verdict.allow, allow, `${id}: ${from} ${protocol} ${method ?? ''} ${path ?? ''} ${port}`);
    }
  }
});

t.test('every path normalisation case of Istio agrees', { skip: corpusMissing }, async t => {
  for (const { mode, in: target, out } of readCorpus<PathCases>('normalization-cases.json').cases) {
    t.equal(normalizePath(target, mode), out, `${mode} ${target}`);
  }
});
