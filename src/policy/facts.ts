import { type Address, parseAddress } from '../base/match.ts';
import type { AuthorizationRequest } from '../model/policy.ts';

/** One request as rules look at it: each derived attribute is worked out when the first rule asks, once. */
export class Facts {
  readonly request: AuthorizationRequest;
  /** Normalised, without query; absent for TCP. */
  readonly path: string | undefined;
  #host: string | undefined;
  #namespace: string | undefined;
  #account: string | undefined;
  #sourceAddress: Address | undefined;
  #remoteAddress: Address | undefined;

  constructor(request: AuthorizationRequest, path: string | undefined) {
    this.request = request;
    this.path = path;
  }

  /** In lower case: hosts match without regard to case. */
  get host(): string | undefined {
    this.#host ??= this.request.host?.toLowerCase();
    return this.#host;
  }

  get trustDomain(): string | undefined {
    const principal = this.request.principal;
    return principal?.slice(0, Math.max(0, principal.indexOf('/')));
  }

  /** `<ns>` of `<trust domain>/ns/<ns>/sa/<sa>`. */
  get namespace(): string | undefined {
    this.#namespace ??= segmentAfter(this.request.principal, '/ns/');
    return this.#namespace;
  }

  /** `<ns>/<sa>`. */
  get account(): string | undefined {
    if (this.#account === undefined) {
      const namespace = this.namespace;
      const account = segmentAfter(this.request.principal, '/sa/');
      if (namespace !== undefined && account !== undefined) this.#account = `${namespace}/${account}`;
    }
    return this.#account;
  }

  get sourceAddress(): Address | undefined {
    this.#sourceAddress ??= readAddress(this.request.sourceIp);
    return this.#sourceAddress;
  }

  get remoteAddress(): Address | undefined {
    this.#remoteAddress ??= readAddress(this.request.remoteIp);
    return this.#remoteAddress;
  }

  get destinationAddress(): Address | undefined {
    return readAddress(this.request.destinationIp);
  }
}

function segmentAfter(principal: string | undefined, mark: string): string | undefined {
  if (principal === undefined) return undefined;
  const at = principal.indexOf(mark);
  if (at < 0) return undefined;
  const end = principal.indexOf('/', at + mark.length);
  return end < 0 ? principal.slice(at + mark.length) : principal.slice(at + mark.length, end);
}

function readAddress(text: string | undefined): Address | undefined {
  if (text === undefined) return undefined;
  const zone = text.indexOf('%');
  const address = parseAddress(zone < 0 ? text : text.slice(0, zone));
  return 'reason' in address ? undefined : address;
}
