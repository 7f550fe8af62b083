/** The principal of those who come without credentials, where that is allowed. */
export const anonymous = 'anonymous';
