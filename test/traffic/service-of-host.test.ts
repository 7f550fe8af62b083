import t from 'tap';
import { serviceOfHost } from '../../src/traffic/service-of-host.ts';

t.test('a full name, a short name and a name with a port are services', async t => {
  t.same(serviceOfHost('web.shop.mesh', 'default'), { name: 'web', namespace: 'shop' });
  t.same(serviceOfHost('WEB.Shop.Mesh:80', 'default'), { name: 'web', namespace: 'shop' });
  t.same(serviceOfHost('web.shop.svc.cluster.local', 'default'), { name: 'web', namespace: 'shop' });
  t.same(serviceOfHost('web.shop.svc:80', 'default'), { name: 'web', namespace: 'shop' });
  t.same(serviceOfHost('web', 'default'), { name: 'web', namespace: 'default' });
  t.same(serviceOfHost('web:8080', 'default'), { name: 'web', namespace: 'default' });
});

t.test('anything else is not of the mesh', async t => {
  for (const host of [
    'example.com',
    'web.shop',
    'web.svc',
    'web.shop.svc.cluster',
    'web.shop.svc.example.com',
    'web.shop.mesh.',
    'a.web.shop.mesh',
    '.shop.mesh',
    'web_1',
    '',
    ':80',
    '10.0.0.1',
    '[::1]:80',
    'mesh.',
    'x'.repeat(64),
  ]) {
    t.equal(serviceOfHost(host, 'default'), undefined, host);
  }
});
