# Trains the runs of the first study again, into outputs/sweeps/; from the repository's root. Its
# angles were 0° to 345° in steps of 15°.
python() {
    command python "$@" 'evaluation.angles=[0,15,30,45,60,75,90,105,120,135,150,165,180,195,210,225,240,255,270,285,300,315,330,345]'
}
python train.py -m experiment=deck_small
python train.py -m experiment=deck_small data=cvc,kvasir model=p4unet_small,unet_small seed=1,2
python train.py -m experiment=deck_small data=cvc data.split_file=docs/results/splits/neighbours-unseen.json
python train.py -m experiment=deck_small data=cvc model=unet_small seed=0,1,2 augmentation=rot90,rotate
python train.py -m experiment=deck_small data=cvc model=p4unet_small augmentation=rotate
python train.py -m experiment=deck_small data=kvasir model=se2unet_small augmentation=rotate
python train.py -m experiment=deck_small data=cvc model=p4unet_small,unet_small data.train_fraction=0.1,0.25,0.5
python train.py -m experiment=deck_small data=cvc model=p4unet_small,unet_small data.split=sequence
python train.py -m experiment=deck_small data=cvc model=p4unet_small,unet_small seed=1 \
    data.split_file=docs/results/splits/neighbours-unseen.json
python train.py -m experiment=deck_small data=cvc model=p4unet_small,unet_small seed=0,1 \
    data.split_file=docs/results/splits/neighbours-seen.json
python train.py -m experiment=deck_small data=cvc trainer.max_epochs=60
python train.py -m experiment=deck_small data=cvc model=unet_small trainer.max_epochs=60 augmentation=rotate
python train.py -m experiment=deck_small data=kvasir model=p4unet_small,unet_small trainer.max_epochs=60
python train.py -m experiment=deck_small data=cvc model=p4unet_small,unet_small trainer.max_epochs=60 \
    data.split_file=docs/results/splits/neighbours-unseen.json
python train.py -m experiment=deck_small data=cvc model=lieunet_small trainer.max_epochs=60
