/** The address of one end of a socket, without the prefix that IPv4 has on a socket of both families. */
export function addressOf(address: string | undefined): string {
  if (address === undefined) return '-';
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
