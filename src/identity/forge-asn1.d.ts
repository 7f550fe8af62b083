/** What `der.ts` uses of node-forge's DER codec: the package's own types describe its main file, which would load all of forge. */
declare module 'node-forge/lib/asn1.js' {
  interface Asn1 {
    readonly tagClass: number;
    readonly type: number;
    readonly constructed: boolean;
    /** Bytes are strings of characters 0 to 255; an element with children has an array. */
    readonly value: string | readonly Asn1[];
  }
  interface ByteBuffer {
    getBytes(): string;
  }
  interface Codec {
    create(tagClass: number, type: number, constructed: boolean, value: string | readonly Asn1[]): Asn1;
    fromDer(bytes: string, options: { readonly decodeBitStrings: boolean; readonly maxDepth: number }): Asn1;
    toDer(element: Asn1): ByteBuffer;
    oidToDer(oid: string): ByteBuffer;
    derToOid(bytes: string): string;
  }
  const codec: Codec;
  export = codec;
}
