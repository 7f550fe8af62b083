import * as v from 'valibot';
import { selectorSchema } from './selector.ts';

// Shape of Istio's security.istio.io/v1 (istio/api security/v1beta1/peer_authentication.proto). The meaning is in policy/.

/** How clients outside of the mesh are taken on a published port; UNSET inherits. */
export const mtlsModes = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'] as const;
export type MtlsMode = Exclude<(typeof mtlsModes)[number], 'UNSET'>;

const mutualTlsSchema = v.strictObject({ mode: v.optional(v.picklist(mtlsModes), 'UNSET') });

const portSchema = v.pipe(
  v.string(),
  v.check(
    text => /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535,
    issue => `expected a port of 1 to 65535, got ${JSON.stringify(issue.input).slice(0, 80)}`,
  ),
);

export const peerAuthenticationSpecSchema = v.pipe(
  v.strictObject({
    selector: selectorSchema,
    mtls: v.optional(mutualTlsSchema, {}),
    /** By the number of the published port. */
    portLevelMtls: v.optional(v.record(portSchema, mutualTlsSchema)),
  }),
  v.check(
    ({ portLevelMtls }) => portLevelMtls === undefined || Object.keys(portLevelMtls).length > 0,
    'portLevelMtls: expected at least one port',
  ),
  v.check(
    ({ selector, portLevelMtls }) => portLevelMtls === undefined || Object.keys(selector?.matchLabels ?? {}).length > 0,
    'portLevelMtls: needs a selector with labels, for ports are those of a workload',
  ),
);

export type PeerAuthenticationSpec = v.InferOutput<typeof peerAuthenticationSpecSchema>;
